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


class StopWish:
    """Becomes true after SIGTERM, SIGUSR1 or SIGINT, or when `max_minutes` are over. Reading it is free."""

    SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)

    def __init__(self, max_minutes: float = 0.0):
        self._deadline = time.monotonic() + 60 * max_minutes if max_minutes > 0 else float("inf")
        self.reason: str | None = None

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
        if self.reason is None and time.monotonic() > self._deadline:
            self.reason = "--max_minutes"
        return self.reason is not None
