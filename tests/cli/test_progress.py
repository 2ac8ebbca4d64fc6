"""The progress of long commands: a bar on a terminal, a line now and then elsewhere, nothing on the other ranks."""

from __future__ import annotations

import io
import sys

import pytest

from uer_ds.cli import progress
from uer_ds.cli.progress import ProgressBar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    seconds = 0.0

    def perf_counter(self) -> float:
        return self.seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def test_a_line_now_and_then_without_a_terminal(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressBar("preprocess") as bar:
        bar.start(2 * 10**9)
        for _ in range(4):
            clock.seconds += 25
            bar.advance(250 * 10**6)
        bar.note("left out: a line")
    assert capsys.readouterr().err.splitlines() == [
        "preprocess: 38%, 750.0 MB of 2,000.0 MB, 10.0 MB/s, 0:02:05 left",
        "left out: a line",
    ]
    assert bar.speed() == [("read", "1,000.0 MB of text in 100.0 s (10.0 MB/s)")]


def test_other_units(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressBar("split", unit="documents") as bar:
        bar.start(8000)
        clock.seconds = 3600
        bar.advance(2000)
    assert capsys.readouterr().err == "split: 25%, 2,000 of 8,000 documents, 3:00:00 left\n"


def test_other_ranks_say_nothing(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressBar("preprocess", shown=False) as bar:
        bar.start(100)
        clock.seconds = 100
        bar.advance(50)
        bar.note("a note")
    assert capsys.readouterr().err == ""


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    with ProgressBar("preprocess") as bar:
        bar.start(4 * 10**6)
        bar.advance(10**6)
    shown = screen.getvalue()
    assert "preprocess" in shown and "25%" in shown
