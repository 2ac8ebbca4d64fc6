"""`DocumentIndex`: where the documents of one shard begin, searched in the memory-mapped index.

Nothing is kept in memory. Interpolation search: documents are of like length on the whole, so a few probes suffice,
where halving takes thirty and touches as many pages of a file that may be on a disk. Every fourth probe halves, which
bounds their number whatever the lengths are. With `spacing` a document is that many positions longer than its tokens.
"""

from __future__ import annotations

import functools
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
FIRST_LOOK = 4
"""Documents that are looked at behind the one in which a window begins, before more are."""


class DocumentIndex:
    """The documents of one shard (a `uer_ds.data.indexed.IndexedDataset`), counted from its own first."""

    def __init__(self, shard: Any):
        self._shard = shard
        self._itemsize = shard.tokens.itemsize
        self.tokens = len(shard.tokens)
        # Documents of a shard without any item have no place in the index.
        self.documents = shard.documents if shard.items else 0

    def length(self, spacing: int) -> int:
        """Positions that the documents take."""
        return self.tokens + spacing * self.documents

    def starts(self, documents: Ints) -> Ints:
        """Token offset at which each document begins; the number of documents gives the end of the last."""
        shard = self._shard
        items = shard.document_bounds[documents]
        offsets: Ints = shard.pointers[np.minimum(items, shard.items - 1)] // self._itemsize
        offsets[items == shard.items] = self.tokens  # nothing but empty documents follows
        return offsets

    def first_item_lengths(self, documents: Ints) -> Ints:
        """Tokens of the first item of each document."""
        lengths: Ints = self._shard.sizes[self._shard.document_bounds[documents]].astype(np.int64)
        return lengths

    def last_item_starts(self, documents: Ints) -> Ints:
        """Token offset at which the last item of each document begins."""
        items = self._shard.document_bounds[documents + 1] - 1
        offsets: Ints = self._shard.pointers[items] // self._itemsize
        return offsets

    def begins(self, positions: Ints, length: int, spacing: int) -> tuple[Ints, Ints]:
        """For windows [position, position + length]: the document that each begins in, and the positions [windows, M]
        at which it and the following ones begin, ascending (the end of the shard over and over where it has no more).
        """
        first = self.find(positions, spacing)
        more = FIRST_LOOK
        while True:
            documents = np.minimum(first[:, None] + np.arange(more), self.documents)
            starts = self.starts(documents) + spacing * documents
            if ((starts[:, -1] > positions + length) | (documents[:, -1] == self.documents)).all():
                return first, starts
            more *= 4

    def find(self, positions: Ints, spacing: int) -> Ints:
        """The documents that hold the positions: each the last one that begins at or before it."""
        low, low_starts = np.zeros(positions.shape, dtype=np.int64), np.zeros(positions.shape, dtype=np.int64)
        high, high_starts = np.full_like(low, self.documents), np.full_like(low, self.length(spacing))
        for probe in count(1):
            middle = (low + high) // 2
            if probe % 4:
                share = (positions - low_starts) / np.maximum(high_starts - low_starts, 1)
                guess = low + (share * (high - low)).astype(np.int64)
                middle = np.minimum(np.maximum(guess, low + 1), high - 1)
            starts = self.starts(middle) + spacing * middle
            reached = starts <= positions
            low, low_starts = np.where(reached, middle, low), np.where(reached, starts, low_starts)
            high, high_starts = np.where(reached, high, middle), np.where(reached, high_starts, starts)
            if not (high - low > 1).any():
                return low
        raise AssertionError("unreachable")

    def begins_one(self, position: int, length: int, spacing: int) -> tuple[int, list[int]]:
        """As `begins` for one window, in plain numbers: for a handful of windows the calls of numpy cost more.

        The last start is behind the window, or the end of the shard.
        """
        bounds, pointers, items = self._bounds, self._pointers, self._shard.items
        itemsize, tokens, documents = self._itemsize, self.tokens, self.documents
        low, low_start, high, high_start, probe = 0, 0, documents, tokens + spacing * documents, 0
        while high - low > 1:
            probe += 1
            middle = (low + high) >> 1
            if probe & 3:
                guess = low + (position - low_start) * (high - low) // (high_start - low_start or 1)
                middle = low + 1 if guess <= low else high - 1 if guess >= high else guess
            item = bounds[middle]
            start = (pointers[item] // itemsize if item < items else tokens) + spacing * middle
            if start <= position:
                low, low_start = middle, start
            else:
                high, high_start = middle, start
        starts = [low_start, high_start]
        while high_start <= position + length and high < documents:
            high += 1
            item = bounds[high]
            high_start = (pointers[item] // itemsize if item < items else tokens) + spacing * high
            starts.append(high_start)
        return low, starts

    # A memoryview gives single numbers three times as fast as an array.

    @functools.cached_property
    def _bounds(self) -> memoryview:
        return self._shard.document_bounds.view(np.uint8).data.cast("q")

    @functools.cached_property
    def _pointers(self) -> memoryview:
        return self._shard.pointers.view(np.uint8).data.cast("q")
