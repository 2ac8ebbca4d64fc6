"""`SentenceChunks`: documents cut into runs of whole sentences of about a given length, by number and in any order.

Chunk k of a document is the sentences that begin in its k-th window of `size` tokens, so every sentence belongs to one
chunk and no chunk has to be counted out from the ones before it (UER-py fills chunks one after another; the lengths
agree on average). A sentence longer than a window goes on in the next chunk, but what is left of the last sentence of a
document is no chunk unless it fills one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from uer_ds.data.tokens import TokenTable
from uer_ds.data.windows import PieceIndex

Ints = NDArray[np.int64]


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


def sentences_up_to(bounds: Ints, length: int) -> int:
    """How many sentences it takes to reach `length` tokens; all of them when they do not."""
    return min(int(np.searchsorted(bounds[1:] - bounds[0], length)) + 1, len(bounds) - 1)
