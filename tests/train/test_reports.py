"""Reports stay JSON whatever a run does; skipped updates are in the meter's rows."""

from __future__ import annotations

import io
import json
import math
import sys
from pathlib import Path

import pytest
import torch

from uer_ds.engine.group import Group
from uer_ds.launch.place import Place
from uer_ds.train import reports
from uer_ds.train.meter import Meter


def test_what_is_not_finite_becomes_null_and_stays_off_the_board(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    files = reports.Files(tmp_path, tmp_path / "board", 0, {})
    files.write({"update": 1, "loss": math.nan, "grad_norm": math.inf, "skipped_updates": 1}, "metrics.jsonl", "train")
    files.write({"update": 2, "loss": 1.5, "grad_norm": 0.5, "skipped_updates": 0}, "metrics.jsonl", "train")
    files.close()

    def constant(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    found = [json.loads(line, parse_constant=constant) for line in lines]
    assert [(line["loss"], line["grad_norm"]) for line in found] == [(None, None), (1.5, 0.5)]
    board = EventAccumulator(str(tmp_path / "board"))
    board.Reload()
    assert [(event.step, event.value) for event in board.Scalars("train/loss")] == [(2, 1.5)]
    assert [event.value for event in board.Scalars("train/skipped_updates")] == [1.0, 0.0]


class Channel(io.StringIO):
    """A stdin or stdout that is a terminal, or is not."""

    def __init__(self, is_terminal: bool):
        super().__init__()
        self.isatty = lambda: is_terminal  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("stdout", "stdin", "bar"),
    [(True, Channel(True), True), (True, Channel(False), False), (True, None, False), (False, Channel(True), False)],
)
def test_a_bar_only_where_somebody_sits(
    stdout: bool, stdin: Channel | None, bar: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """mpirun gives its processes a terminal to write to and a pipe to read from."""
    written = Channel(stdout)
    monkeypatch.setattr(sys, "stdout", written)
    monkeypatch.setattr(sys, "stdin", stdin)
    console = reports.Console(4, 0)
    console.say("model      of a test")
    console.advance(2)
    console.close()
    assert ("training" in written.getvalue()) == bar
    assert "model      of a test\n" in written.getvalue()


@pytest.mark.parametrize(("losses", "expected"), [((4.0, math.nan, 2.0), (3.0, 1)), ((math.nan, math.nan), (None, 2))])
def test_skipped_updates_are_counted_and_left_out_of_means(
    losses: tuple[float, ...], expected: tuple[float | None, int]
) -> None:
    group = Group.__new__(Group)
    group.place = Place("none", 0, 1, 0, 1, "", 0)
    meter = Meter()
    for loss in losses:
        terms = {"loss_mlm": (torch.tensor(10 * loss), torch.tensor(10.0))}
        meter.add(terms, tokens=10, skipped=math.isnan(loss))
    values = meter.averages(group)
    assert values["skipped_updates"] == expected[1]
    assert values["loss"] == expected[0] or (expected[0] is None and math.isnan(values["loss"]))
