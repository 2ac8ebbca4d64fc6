"""Stopping in good order: signals and time limits become a wish; all ranks agree on the update; a checkpoint is saved.

Exit status `REQUEUE` (EX_TEMPFAIL of sysexits.h) tells a scheduler's script to start the same command again.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

REQUEUE = 75
UPDATE, EVALUATION, CHECKPOINT = "update", "evaluation", "checkpoint"


class StopWish:
    """Becomes true after SIGTERM, SIGUSR1 or SIGINT, or in time before `max_minutes` are over. Reading it is free.

    In time: everything that may come before the process has ended, one more update, an evaluation, a checkpoint, must
    still fit, each as long as it took the last time. Before the first update only signals count, so that every start
    comes further.
    """

    SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)

    def __init__(self, max_minutes: float = 0.0):
        self._deadline = time.monotonic() + 60 * max_minutes if max_minutes > 0 else float("inf")
        self._lasted: dict[str, float] = {}
        self.reason: str | None = None

    def note(self, what: str, seconds: float) -> None:
        """`what` (`UPDATE`, `EVALUATION`, `CHECKPOINT`) took so long; the next one may, too."""
        self._lasted[what] = seconds

    @contextmanager
    def listening(self, last: bool = False) -> Iterator[None]:
        """Signals become a wish inside the `with` block (main thread only).

        `last`: the process ends afterwards, and a signal that comes too late must not change its status.
        """
        before = {number: signal.signal(number, self._on_signal) for number in self.SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, signal.SIG_IGN if last else handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.reason is not None:
            raise KeyboardInterrupt  # the second Ctrl-C does not wait for a checkpoint
        self.reason = signal.Signals(number).name

    def __bool__(self) -> bool:
        ahead = sum(self._lasted.values())
        if self.reason is None and UPDATE in self._lasted and time.monotonic() + ahead > self._deadline:
            self.reason = "--max_minutes"
        return self.reason is not None
