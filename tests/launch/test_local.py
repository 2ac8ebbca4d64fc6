"""Processes started by us, before all of them are there: a signal is not lost, nobody is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from uer_ds.errors import UserError
from uer_ds.launch import local
from uer_ds.launch.local import named_share, start_processes

SHARE = named_share(2, [], "tcp://localhost:12345")
SAVES = 'trap "exit 75" TERM; touch "$0/$RANK"; for i in $(seq 600); do sleep 0.1; done'


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Those of pytest, afterwards."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 20
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.02)


def test_a_signal_between_two_starts_reaches_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start = local.start_process

    def start_slowly(command: list[str], environ: dict[str, str], log: Path | None) -> subprocess.Popen[bytes]:
        if environ["RANK"] == "1":
            wait_for(tmp_path / "0")
            os.kill(os.getpid(), signal.SIGTERM)
        process = start(command, environ, log)
        wait_for(tmp_path / environ["RANK"])
        return process

    monkeypatch.setattr(local, "start_process", start_slowly)
    assert start_processes(SHARE, ["bash", "-c", SAVES, str(tmp_path)]) == 75


def test_who_was_started_is_ended_when_another_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rank1.log").mkdir()
    start, started = local.start_process, []

    def start_noted(*words: object) -> subprocess.Popen[bytes]:
        started.append(start(*words))
        return started[-1]

    monkeypatch.setattr(local, "start_process", start_noted)
    with pytest.raises(UserError, match=r"rank1\.log cannot be written"):
        start_processes(SHARE, ["sleep", "60"], str(tmp_path))
    assert [process.returncode for process in started] == [-signal.SIGKILL]


def test_ctrl_c_is_left_to_the_processes(tmp_path: Path) -> None:
    """They get it from the terminal; that we do not end by it must not make them deaf."""
    asks = "import signal, sys; sys.exit(signal.getsignal(signal.SIGINT) is not signal.default_int_handler)"
    assert start_processes(SHARE, ["python3", "-c", asks]) == 0
    signal.raise_signal(signal.SIGINT)
