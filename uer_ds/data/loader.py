"""`Loader`: the updates of one rank in order, each a list of ready micro-batches.

Batches are prepared ahead by background threads: making a batch is numpy on whole arrays, which lets go of Python's
lock most of the time, and a training thread that waits for its device does too. Threads share the memory-mapped files,
cost no copies, and need no start method. The result does not depend on their number.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from uer_ds.data.batch import Batch
from uer_ds.data.sampler import Sampler
from uer_ds.errors import UserError

Ints = NDArray[np.int64]


class Objective(Protocol):
    """How samples are made: a pure function of (seed, epoch, sample number), whatever else is in the batch.

    Attributes:
        name: what users write.
        targets: names of the model targets that it feeds.
        layouts: the dataset layouts (`uer_ds.data.manifest`) that it can read.
        needs: the smallest dataset that gives a sample, in words, for error messages.
        dataset: where the tokens come from (`folder`, `documents`, `items`, `tokens`).
    """

    name: str
    targets: tuple[str, ...]
    layouts: tuple[str, ...]
    needs: str
    dataset: Any

    def __len__(self) -> int:
        """Samples in one epoch."""
        ...

    def batch(self, epochs: Ints, numbers: Ints) -> Batch:
        """The samples `numbers` [B] as they are in `epochs` [B]."""
        ...


class Loader:
    """Iterates over updates; each is a list of `accumulation` micro-batches of `batch_size` sequences for this rank.

    Args:
        objective: makes batches from sample numbers.
        sampler: the order of the samples; its `samples_per_epoch` is `len(objective)`.
        rank, world_size: which part of every update is ours.
        batch_size: sequences in a micro-batch.
        accumulation: micro-batches in an update.
        consumed: samples that all ranks together have consumed before the first update.
        workers: background threads; 0 prepares in the caller's thread.
        prefetch: updates that are prepared ahead.
        stop: end when this many samples are consumed (the last update is whole); None: never.
        pin_memory: put batches into page-locked memory, for copies to a GPU that overlap with work.
    """

    def __init__(
        self,
        objective: Objective,
        sampler: Sampler,
        rank: int,
        world_size: int,
        batch_size: int,
        accumulation: int,
        consumed: int = 0,
        workers: int = 0,
        prefetch: int = 2,
        stop: int | None = None,
        pin_memory: bool = False,
    ):
        if len(objective) == 0:
            raise UserError(no_samples(objective))
        self.consumed = consumed
        self._objective, self._sampler = objective, sampler
        self._layout = (rank, world_size, batch_size, accumulation)
        self._sequences = world_size * batch_size * accumulation
        self._ahead = prefetch if workers else 0
        self._stop, self._pin_memory = stop, pin_memory
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="loader") if workers else None
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
            self._fill(self._pool)
            batches = [future.result() for future in self._pending.popleft()]
        self.consumed += self._sequences
        if self._pool is not None:
            self._fill(self._pool)
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

    def _fill(self, pool: ThreadPoolExecutor) -> None:
        """Keep `prefetch` updates (at least one) in preparation."""
        while len(self._pending) < max(1, self._ahead):
            start = self.consumed + len(self._pending) * self._sequences
            if self._stop is not None and start >= self._stop:
                return
            shares = self._sampler.share(start, *self._layout)
            self._pending.append([pool.submit(self._make, *samples) for samples in shares])

    def _make(self, epochs: Ints, numbers: Ints) -> Batch:
        batch = self._objective.batch(epochs, numbers)
        return batch.pin_memory() if self._pin_memory else batch


def no_samples(objective: Objective) -> str:
    """The sentence for an objective that cannot make a single sample."""
    dataset = objective.dataset
    return (
        f"{dataset.folder}: the {objective.name} objective finds no sample in {dataset.documents} documents,"
        f" {dataset.items} items and {dataset.tokens} tokens; expected {objective.needs}: check the corpus and its"
        " format and run preprocess again."
    )
