"""When a run ends by itself: in time for its checkpoint, never before its first update, at once after a signal."""

from __future__ import annotations

import os
import signal

import pytest

from uer_ds.train import stopping
from uer_ds.train.saving import first_save_seconds
from uer_ds.train.stopping import CHECKPOINT, EVALUATION, UPDATE, StopWish


class Clock:
    """Stands in for the module `time`."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(stopping, "time", clock)
    return clock


def test_there_is_time_left_for_what_comes_before_the_end(clock: Clock) -> None:
    wish = StopWish(max_minutes=10)
    wish.note(UPDATE, 5)
    clock.now += 594
    assert not wish
    wish.note(CHECKPOINT, 60)
    assert wish
    assert wish.reason == "--max_minutes"


def test_the_last_time_counts_and_not_the_longest(clock: Clock) -> None:
    """A first update that compiles, say."""
    wish = StopWish(max_minutes=10)
    wish.note(UPDATE, 500)
    wish.note(UPDATE, 5)
    wish.note(EVALUATION, 20)
    clock.now += 574
    assert not wish
    clock.now += 2
    assert wish


def test_one_update_is_made_however_short_the_time(clock: Clock) -> None:
    wish = StopWish(max_minutes=0.1)
    clock.now += 3600
    wish.note(EVALUATION, 20)
    assert not wish
    wish.note(UPDATE, 1)
    assert wish


def test_without_a_limit_only_a_signal_stops(clock: Clock) -> None:
    wish = StopWish()
    wish.note(UPDATE, 1e9)
    assert not wish
    with wish.listening():
        os.kill(os.getpid(), signal.SIGUSR1)
        assert wish
    assert wish.reason == "SIGUSR1"


def test_the_first_save_is_expected_by_its_size() -> None:
    alone, divided = (first_save_seconds(10**9, 10**9, processes, True) for processes in (1, 12))
    assert alone == pytest.approx(24e9 / 2e8)
    assert divided == pytest.approx(13e9 / 2e8)
    assert first_save_seconds(10**9, 10**9, 12, False) == pytest.approx(5)
