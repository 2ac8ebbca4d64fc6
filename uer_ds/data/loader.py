"""`Loader`: the updates of one rank in order, each a list of ready micro-batches.

Batches are prepared ahead by background threads: making a batch is numpy on whole arrays, which lets go of Python's
lock most of the time, and a training thread that waits for its device does too. Threads share the memory-mapped files,
cost no copies, and need no start method. The result does not depend on their number.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from types import TracebackType

from uer_ds.data.batch import Batch
from uer_ds.data.sampler import Sampler
from uer_ds.data.samples import Ints, Samples, make_batch


class Loader:
    """Iterates over updates; each is a list of `accumulation` micro-batches of `batch_size` sequences for this rank.

    Args:
        samples: makes batches from sample numbers; there is at least one (see `require_samples`).
        sampler: the order of the samples; its `samples_per_epoch` is `len(samples)`.
        rank, world_size: which part of every update is ours.
        batch_size: sequences in a micro-batch.
        accumulation: micro-batches in an update.
        consumed: samples that all ranks together have consumed before the first update.
        workers: background threads; 0 prepares a batch when it is asked for.
        prefetch: updates that are prepared ahead.
        stop: end when this many samples are consumed (the last update is whole); None: never.
        trim: leave out columns that are padding in all rows of a micro-batch, to a multiple of this; None: keep them.
        pin_memory: put batches into page-locked memory, for copies to a GPU that overlap with work.
        stalled: called with the seconds waited, every `stall_seconds` that a batch does not come.
    """

    def __init__(
        self,
        samples: Samples,
        sampler: Sampler,
        rank: int,
        world_size: int,
        batch_size: int,
        accumulation: int,
        consumed: int = 0,
        workers: int = 0,
        prefetch: int = 2,
        stop: int | None = None,
        trim: int | None = None,
        pin_memory: bool = False,
        stalled: Callable[[float], None] | None = None,
        stall_seconds: float = 60.0,
    ):
        assert len(samples) > 0
        self.consumed = consumed
        self._samples, self._sampler = samples, sampler
        self._layout = (rank, world_size, batch_size, accumulation)
        self._sequences = world_size * batch_size * accumulation
        self._ahead = max(1, prefetch) if workers else 0
        self._stop, self._trim, self._pin_memory = stop, trim, pin_memory
        self._stalled, self._stall_seconds = stalled, stall_seconds
        threads = workers or (1 if stalled else 0)  # whoever is to say that a batch does not come must not make it
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="loader") if threads else None
        self._pending: deque[list[Future[Batch]]] = deque()

    def __iter__(self) -> Iterator[list[Batch]]:
        return self

    def __next__(self) -> list[Batch]:
        """The next update; `consumed` counts it when it is handed out, not when it is prepared."""
        if self._stop is not None and self.consumed >= self._stop:
            raise StopIteration
        if self._pool is None:
            batches = [self._make(*samples) for samples in self._sampler.share(self.consumed, *self._layout)]
        else:
            self._fill(self._pool, max(1, self._ahead))
            batches = [self._wait(future) for future in self._pending.popleft()]
        self.consumed += self._sequences
        if self._pool is not None:
            self._fill(self._pool, self._ahead)
        return batches

    def close(self) -> None:
        """End the background threads; the loader cannot be used afterwards."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pending.clear()

    def __enter__(self) -> Loader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _fill(self, pool: ThreadPoolExecutor, updates: int) -> None:
        """Have so many `updates` in preparation."""
        while len(self._pending) < updates:
            start = self.consumed + len(self._pending) * self._sequences
            if self._stop is not None and start >= self._stop:
                return
            shares = self._sampler.share(start, *self._layout)
            self._pending.append([pool.submit(self._make, *samples) for samples in shares])

    def _wait(self, future: Future[Batch]) -> Batch:
        """The batch when it is there; a worker's own mistake is raised here."""
        began = time.monotonic()
        while True:
            try:
                return future.result(self._stall_seconds)
            except FutureTimeout:
                if future.done():  # the worker itself has met a timeout
                    raise
                if self._stalled:
                    self._stalled(time.monotonic() - began)

    def _make(self, epochs: Ints, numbers: Ints) -> Batch:
        batch = make_batch(self._samples, epochs, numbers, self._trim)
        return batch.pin_memory() if self._pin_memory else batch
