"""The progress bar of long commands: share done, MB/s, time left. Without a terminal (in the log of a SLURM job) a line
now and then.
"""

from __future__ import annotations

import sys
import time
from datetime import timedelta
from types import TracebackType
from typing import Any

WORTH_A_SPEED = 10**6
"""Bytes; what takes no time has no speed."""

LINE_SECONDS = 60.0
"""Between two lines where there is no terminal."""


class ProgressBar:
    """A `uer_ds.data.shards.Progress` on stderr; use it as a context manager."""

    def __init__(self, label: str, shown: bool = True, unit: str = "bytes"):
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TaskProgressColumn,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TransferSpeedColumn() if unit == "bytes" else MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        self._console = Console(stderr=True, highlight=False, soft_wrap=True, quiet=not shown)
        self._in_lines = not sys.stderr.isatty()
        self._bar = Progress(*columns, console=self._console, disable=not shown or self._in_lines)
        self._task = self._bar.add_task(label, total=None)
        self._label, self._unit = label, unit
        self._started = self._spoke = time.perf_counter()
        self._bytes = self._total = 0

    def __enter__(self) -> ProgressBar:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def start(self, total_bytes: int) -> None:
        self._bar.update(self._task, total=total_bytes)
        self._total = total_bytes
        self._started = self._spoke = time.perf_counter()

    def advance(self, count: int) -> None:
        self._bytes += count
        self._bar.advance(self._task, count)
        now = time.perf_counter()
        if self._in_lines and now - self._spoke >= LINE_SECONDS:
            self._spoke = now
            self.note(self._line(now - self._started))

    def _line(self, seconds: float) -> str:
        """What the bar would show, in words."""
        done = self._bytes / max(self._total, 1)
        left = timedelta(seconds=round(seconds * (1 - done) / max(done, 1e-9)))
        if self._unit != "bytes":
            return f"{self._label}: {done:.0%}, {self._bytes:,} of {self._total:,} {self._unit}, {left} left"
        speed = data_size(round(self._bytes / seconds))
        return (
            f"{self._label}: {done:.0%}, {data_size(self._bytes)} of {data_size(self._total)}, {speed}/s, {left} left"
        )

    def note(self, text: str) -> None:
        self._console.print(text, markup=False)

    def speed(self) -> list[tuple[str, str]]:
        """What was read and how fast, as a row of `table`; no row when nothing was read."""
        seconds = max(time.perf_counter() - self._started, 1e-9)
        words = f"{data_size(self._bytes)} of text in {seconds:,.1f} s"
        if self._bytes >= WORTH_A_SPEED:
            words += f" ({data_size(round(self._bytes / seconds))}/s)"
        return [("read", words)] if self._bytes else []


def data_size(count: int) -> str:
    """A number of bytes in the unit that suits it (powers of ten)."""
    for factor, unit in ((10**10, "GB"), (10**6, "MB"), (10**3, "kB")):
        if count >= factor:
            return f"{count / min(factor, 10**9):,.1f} {unit}"
    return f"{count} bytes"


def table(rows: list[tuple[str, Any]]) -> str:
    """Names and values in two columns; numbers with thousands separators."""
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name.ljust(width)}  {f'{v:,}' if isinstance(v, int) else v}" for name, v in rows)
