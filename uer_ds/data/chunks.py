"""`SentenceChunks`: documents cut into runs of whole sentences of about a given length, by number and in any order.

Chunk k of a document is the sentences that begin in its k-th window of `size` tokens, so every sentence belongs to one
chunk and no chunk has to be counted out from the ones before it (UER-py fills chunks one after another; the lengths
agree on average). A sentence longer than a window goes on in the next chunk, but what is left of the last sentence of a
document is no chunk unless it fills one.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from uer_ds.data.tokens import TokenTable
from uer_ds.data.windows import PieceIndex

Ints = NDArray[np.int64]
MANY_ITEMS = 1 << 20
"""Sentences that are looked at together when chunks are counted."""
KEPT_DOCUMENTS = 64


class SentenceChunks:
    """The chunks of a dataset whose items are sentences. Opening costs what `PieceIndex` costs."""

    def __init__(self, table: TokenTable, size: int):
        self._table, self._size = table, size
        self._index = PieceIndex(table.documents, self._count_chunks)

    def __len__(self) -> int:
        return len(self._index)

    def locate(self, numbers: Ints) -> tuple[list[int], list[Ints]]:
        """For each chunk its document, and the positions [n + 1] at which its n sentences begin and the last ends."""
        documents, pieces = self._index.locate(numbers)
        lows = self._table.document_starts(documents) + pieces * self._size
        return documents.tolist(), [
            self._bounds(*place) for place in zip(documents.tolist(), lows.tolist(), strict=True)
        ]

    def _count_chunks(self, documents: Ints) -> Ints:
        starts = self._table.document_starts(documents)
        last_sentences = self._table.last_item_starts(np.minimum(documents[..., :-1], self._table.documents - 1))
        lengths = np.diff(starts)
        last_windows = np.maximum(last_sentences - starts[..., :-1], lengths - self._size)
        return np.clip(last_windows, 0, lengths) // self._size + 1

    def _bounds(self, document: int, low: int) -> Ints:
        starts = self._table.item_starts(document, low, low + self._size)
        if len(starts) > 1:
            return starts
        return np.array([low, min(low + self._size, int(starts[0]))])  # inside one long sentence


class ChunksWithGap:
    """Those chunks that have a sentence of at most `longest` tokens before their last one.

    A document has any number of them, also none. Opening reads the table of sentences once, 3 x 10^7 of them a second.
    """

    def __init__(self, table: TokenTable, size: int, longest: int):
        self._table, self._size, self._longest = table, size, longest
        self._index = PieceIndex(table.documents, self._count_chunks)
        self._windows = functools.lru_cache(KEPT_DOCUMENTS)(self._find_windows)  # a document may be a whole library

    def __len__(self) -> int:
        return len(self._index)

    def locate(self, numbers: Ints) -> list[Ints]:
        """For each chunk the positions [n + 1] at which its n sentences begin and the last ends."""
        return [
            self._bounds(*place) for place in zip(*map(np.ndarray.tolist, self._index.locate(numbers)), strict=True)
        ]

    def _bounds(self, document: int, piece: int) -> Ints:
        low = (
            int(self._table.document_starts(np.array([document]))[0]) + int(self._windows(document)[piece]) * self._size
        )
        return self._table.item_starts(document, low, low + self._size)

    def _count_chunks(self, documents: Ints) -> Ints:
        if documents.ndim > 1:
            return np.stack([self._count_chunks(row) for row in documents])
        first, end = documents[[0, -1]].tolist()
        if end - first > 1 and self._table.item_count(first, end) > MANY_ITEMS:
            half = len(documents) // 2
            return np.concatenate([self._count_chunks(documents[: half + 1]), self._count_chunks(documents[half:])])
        owners = self._find(first, end)[0] if end > first else np.zeros(0, np.int64)
        return np.bincount(owners - first, minlength=len(documents) - 1)

    def _find_windows(self, document: int) -> Ints:
        return self._find(document, document + 1)[1]

    def _find(self, first: int, end: int) -> tuple[Ints, Ints]:
        """Documents and windows of all chunks with a gap in the documents first .. end - 1."""
        owners, starts, lengths = self._table.items(first, end)
        windows = (starts - self._table.document_starts(owners)) // self._size
        together = (owners[1:] == owners[:-1]) & (windows[1:] == windows[:-1])
        gaps = np.flatnonzero(together & (lengths[:-1] <= self._longest))
        owners, windows = owners[gaps], windows[gaps]
        is_first = np.append(True, (np.diff(owners) != 0) | (np.diff(windows) != 0))[: len(gaps)]
        return owners[is_first], windows[is_first]


def sentences_up_to(bounds: Ints, length: int) -> int:
    """How many sentences it takes to reach `length` tokens; all of them when they do not."""
    return min(int(np.searchsorted(bounds[1:] - bounds[0], length)) + 1, len(bounds) - 1)
