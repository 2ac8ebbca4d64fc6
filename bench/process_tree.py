"""What a command and all the processes it starts need: seconds on the clock, CPU seconds, memory, and what the rest of
the machine did meanwhile. Linux only.

CPU time is the kernel's own count, of processes that outlive their parents too (they become children of this one). A
machine that is busy with other things gives the same CPU seconds and more seconds on the clock, so both are told, and
how many cores the others had.
"""

from __future__ import annotations

import ctypes
import os
import resource
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
POLL_SECONDS = 0.02
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Usage:
    """What a command needed.

    Attributes:
        seconds: on the clock.
        cpu_seconds: of all its processes.
        peaks: process number -> high-water mark of its memory in MB (pages that processes share count in each).
        work: process number -> CPU seconds. The largest is what the command takes on cores that are free.
        others: cores that were busy with something else, on average.
    """

    seconds: float
    cpu_seconds: float
    peaks: dict[int, float]
    work: dict[int, float]
    others: float

    @property
    def peak_mb(self) -> float:
        """Of its largest process."""
        return max(self.peaks.values())


def run_measured(command: list[str], environment: dict[str, str] | None = None) -> Usage:
    """Run a command to its end. Raises CalledProcessError when it fails."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    began, cpu_before, busy_before = time.perf_counter(), _children_cpu(), _busy_seconds()
    everything = {**os.environ, **(environment or {})}
    process = subprocess.Popen(command, start_new_session=True, env=everything, stdout=subprocess.DEVNULL)
    peaks: dict[int, float] = {}
    work: dict[int, float] = {}
    while process.poll() is None:
        for number, peak, worked in _processes(process.pid):
            peaks[number], work[number] = peak, worked
        time.sleep(POLL_SECONDS)
    seconds = time.perf_counter() - began
    _reap()
    cpu = _children_cpu() - cpu_before
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    others = (_busy_seconds() - busy_before - cpu) / seconds
    return Usage(seconds, cpu, peaks, work, max(others, 0.0))


def _processes(session: int) -> Iterator[tuple[int, float, float]]:
    """Number, high-water mark in MB and CPU seconds of each process of a session."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) == session:
                status = (folder / "status").read_text()
                peak = int(status.split("VmHWM:")[1].split()[0]) / 1e3
                yield int(folder.name), peak, (int(fields[11]) + int(fields[12])) / TICKS
        except (OSError, IndexError):  # it has just ended
            continue


def _reap() -> None:
    """Wait for what the command left behind (the server of its workers ends a moment later)."""
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _children_cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _busy_seconds() -> float:
    """CPU seconds of the whole machine, waiting not counted."""
    user, nice, system, _, _, irq, softirq, steal = map(int, Path("/proc/stat").read_text().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / TICKS
