"""Which samples come next: a pure function of (seed, samples consumed, rank, layout).

The whole state of the data order is one integer, the number of samples consumed by all ranks together. Each epoch is
another permutation of the samples. The last update of an epoch is never short and nothing is dropped: it wraps, taking
its remaining samples from the next epoch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from uer_ds.data.permutation import permute

SampleNumbers = tuple[NDArray[np.int64], NDArray[np.int64]]
"""(epochs, numbers), one entry each for every sample."""

Lengths = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.int64]]
"""(epochs, numbers) -> tokens of each sample."""


@dataclass(frozen=True)
class Sampler:
    """The order of samples for any number of ranks.

    Attributes:
        samples_per_epoch: samples of the objective in one epoch, at least 1.
        seed: with the epoch number, the key of the permutation.
        shuffle: False keeps the order of the dataset.
        lengths: where rows are padded, what puts those of one length into one micro-batch; None: as they come.
    """

    samples_per_epoch: int
    seed: int
    shuffle: bool = True
    lengths: Lengths | None = None

    def update(self, consumed: int, sequences: int) -> SampleNumbers:
        """The global samples `consumed` .. `consumed + sequences - 1`."""
        epochs, indices = np.divmod(np.arange(consumed, consumed + sequences, dtype=np.int64), self.samples_per_epoch)
        if not self.shuffle:
            return epochs, indices
        return epochs, permute(indices, self.samples_per_epoch, self.seed, epochs)

    def share(
        self, consumed: int, rank: int, world_size: int, batch_size: int, accumulation: int
    ) -> list[SampleNumbers]:
        """This rank's part of the next update, one entry for each of its `accumulation` micro-batches.

        Over all ranks and micro-batches these are exactly the global samples `consumed` .. `consumed + world_size *
        batch_size * accumulation - 1`: micro-batch after micro-batch, and within one rank after rank. With `lengths`,
        the longest of the update are in its first micro-batch and so on, and ranks take turns, so that all of them have
        as much to do at a time. The update holds the same samples either way.
        """
        stride = world_size * batch_size
        if self.lengths is not None and world_size * accumulation > 1:
            epochs, numbers = self.update(consumed, stride * accumulation)
            order = np.argsort(-self.lengths(epochs, numbers), kind="stable")
            own = order.reshape(accumulation, batch_size, world_size)[:, :, rank]
            return [(epochs[places], numbers[places]) for places in own]
        first = consumed + rank * batch_size
        return [self.update(first + micro * stride, batch_size) for micro in range(accumulation)]
