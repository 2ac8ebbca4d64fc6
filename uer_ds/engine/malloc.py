"""How glibc's malloc treats large pieces of memory: kept for the next ones, or given back to the system at once.

Another malloc (jemalloc by LD_PRELOAD, another C library) is left alone, and so is one that the user has set up by
variables (MALLOC_TRIM_THRESHOLD_ and the like; mallopt(3)).
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Names of two settings of `mallopt` (malloc.h)."""

_MIB = 2**20
AT_ONCE = (_MIB, _MIB)
USUAL = (32 * _MIB, 64 * _MIB)
"""What the thresholds end at by themselves in a process that works with large tensors."""
KEEPING = (1024 * _MIB, 2048 * _MIB - 1)

_present = USUAL


def keep_freed_memory() -> None:
    """Keep the memory of freed tensors for the next ones, from now on.

    By itself glibc maps each tensor above 32 MiB anew, and the kernel fills it with zeros page by page: up to a sixth
    of an update on a CPU (docs/performance.md). The peak stays what it is where tensors have the same sizes in every
    update; where row lengths change, as in fine-tuning, holes stay (2.49 instead of 2.17 GB for bert small in rows of
    up to 256 tokens).
    """
    global _present
    if not any(name.startswith("MALLOC_") for name in os.environ):
        _present = KEEPING
        _set(_present)


@contextmanager
def freed_at_once() -> Iterator[None]:
    """Inside the `with` block, pieces of 1 MiB or more go back to the system when they are freed.

    For whole weights that come and go between partitions that stay: from the heap, each would leave a hole that the
    next does not fit into, and a rank would hold more than the whole model.
    """
    _set(AT_ONCE)
    try:
        yield
    finally:
        _set(_present)


def _set(thresholds: tuple[int, int]) -> None:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, thresholds[0])
        mallopt(_TRIM_THRESHOLD, thresholds[1])
