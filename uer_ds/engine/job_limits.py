"""What a job or container may use of its machine: memory and processor time, as the kernel limits them (cgroups).

Both versions are read (of both at once, version 2 only where it is mounted as usual), and every group above the own
one counts: the narrowest holds. Files that are not there or cannot be read: no limit. Source: the kernel's
admin-guide/cgroup-v2 and cgroup-v1/memory, scheduler/sched-bwc.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

MACHINE = Path("/")
UNLIMITED = 2**60
"""Version 1 writes a number near 2**63 where memory has no limit."""


def memory_left(root: Path = MACHINE) -> float:
    """Bytes that the job may have besides what it has; infinite: no limit.

    What was read from files a while ago and is still in memory counts as free: the kernel drops it when asked for more.
    """
    left = math.inf
    for version, folder in _groups(root, "memory"):
        limit, used, dropped = (
            ("max", "current", "") if version == 2 else ("limit_in_bytes", "usage_in_bytes", "total_")
        )
        most, now = _numbers(folder / f"memory.{limit}"), _numbers(folder / f"memory.{used}")
        if most and now and most[0] < UNLIMITED:
            left = min(left, most[0] - now[0] + _of_statistics(folder, f"{dropped}inactive_file"))
    return max(0.0, left)


def cores_allowed(root: Path = MACHINE) -> float:
    """How many cores' time the job may take, not always whole; infinite: no limit."""
    allowed = math.inf
    for version, folder in _groups(root, "cpu"):
        if version == 2:
            quota = _numbers(folder / "cpu.max")
        else:
            quota = [*_numbers(folder / "cpu.cfs_quota_us"), *_numbers(folder / "cpu.cfs_period_us")]
        if len(quota) == 2 and 0 < quota[0] < math.inf and quota[1] > 0:
            allowed = min(allowed, quota[0] / quota[1])
    return allowed


def _groups(root: Path, controller: str) -> Iterator[tuple[int, Path]]:
    """Version and folder of the own group and of those above it."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:  # another system
        return
    for line in lines:
        _, controllers, own = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        mounted = root / "sys/fs/cgroup" / (controller if controllers else "")
        if not mounted.is_dir():  # "cpu" is usually a link to the folder of "cpu,cpuacct"
            mounted = mounted.parent / controllers
        folder = mounted / own.strip("/")
        for group in (folder, *folder.parents):
            yield (1 if controllers else 2), group
            if group == mounted:
                break


def _of_statistics(folder: Path, name: str) -> float:
    try:
        lines = (folder / "memory.stat").read_text().splitlines()
    except OSError:
        return 0.0
    return next((float(value) for field, _, value in (line.partition(" ") for line in lines) if field == name), 0.0)


def _numbers(file: Path) -> list[float]:
    """The numbers of a file of one line ("max": infinite); none where it is not there or holds something else."""
    try:
        return [math.inf if word == "max" else float(word) for word in file.read_text().split()]
    except (OSError, ValueError):
        return []
