"""`TokenTable`: the tokens of a dataset as one long row through all shards, with document and item bounds, in batches.

Everything is read from the memory-mapped files when it is asked for; nothing of the size of the dataset is kept.
N runs of tokens, D documents asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uer_ds.data.dataset import Dataset
from uer_ds.data.manifest import ColumnRecord

Ints = NDArray[np.int64]
FEW = 32
"""Positions that are searched one at a time rather than together."""


class TokenTable:
    """Tokens by their number in the whole dataset.

    Documents may be seen with `spacing`: then each is that many positions longer than its tokens, which is how special
    tokens get their place in a stream without being stored.
    """

    def __init__(self, dataset: Dataset):
        self._dataset = dataset
        self._shards = dataset.shards
        self._tokens = [np.asarray(shard.tokens) for shard in self._shards]
        self._token_starts = _starts([len(tokens) for tokens in self._tokens])
        # Documents of a shard without any item have no place in the index.
        self._document_starts = np.array(_starts([shard.documents if shard.items else 0 for shard in self._shards]))
        self.documents = int(self._document_starts[-1])
        self.tokens = self._token_starts[-1]

    @property
    def folder(self) -> Path:
        return self._dataset.folder

    def document_starts(self, documents: Ints, spacing: int = 0) -> Ints:
        """Position at which each document begins; the number of documents itself gives the end of the last one."""
        result = np.full(documents.shape, self.tokens + spacing * self.documents, dtype=np.int64)
        for s, here in _by_shard(self._document_starts, documents):
            local = documents[here] - self._document_starts[s]
            result[here] = self._starts_in(s, local) + self._token_starts[s] + spacing * documents[here]
        return result

    def last_item_starts(self, documents: Ints) -> Ints:
        """Position at which the last item of each document begins."""
        result = np.empty(documents.shape, dtype=np.int64)
        for s, here in _by_shard(self._document_starts, documents):
            items = self._shards[s].document_bounds[documents[here] - self._document_starts[s] + 1] - 1
            result[here] = self._shards[s].pointers[items] // self._tokens[s].itemsize + self._token_starts[s]
        return result

    def find_documents(self, positions: Ints, spacing: int = 0) -> Ints:
        """The document that holds each position: the last one that begins at or before it."""
        result = np.empty(positions.shape, dtype=np.int64)
        shard_starts = np.array(self._token_starts) + spacing * self._document_starts
        for s, here in _by_shard(shard_starts, positions):
            local = positions[here] - shard_starts[s]
            find = self._find_few if len(local) < FEW else self._find_many
            length = int(shard_starts[s + 1] - shard_starts[s])
            result[here] = find(s, local, length, spacing) + self._document_starts[s]
        return result

    def item_starts(self, document: int, low: int | None = None, high: int | None = None) -> Ints:
        """Positions at which the items of a document begin, then the end of the last; only those in [low, high)."""
        s, local = self._locate(document)
        shard, itemsize = self._shards[s], self._tokens[s].itemsize
        first, end = shard.document_bounds[local : local + 2].tolist()
        if low is not None and high is not None:
            window = (np.array([low, high]) - self._token_starts[s]) * itemsize
            first, end = (first + np.searchsorted(shard.pointers[first:end], window)).tolist()
        offsets = shard.pointers[first:end] // itemsize
        return np.append(offsets, shard.token_start(end)) + self._token_starts[s]

    def read(self, starts: Ints, counts: Ints) -> Ints:
        """The runs [start, start + count) of ids, one after another."""
        return self._read(self._tokens, starts, counts, np.int64)

    def read_column(self, column: ColumnRecord, starts: Ints, counts: Ints) -> NDArray:
        """As `read` for a side column that has one number a token."""
        columns = self._dataset.shard_columns(column.name)
        return self._read(columns, starts, counts, columns[0].dtype)

    def document_column(self, column: ColumnRecord, documents: Ints) -> Ints:
        """The numbers of a side column that has one a document."""
        columns = self._dataset.shard_columns(column.name)
        result = np.empty(documents.shape, dtype=np.int64)
        for s, here in _by_shard(self._document_starts, documents):
            result[here] = columns[s][documents[here] - self._document_starts[s]]
        return result

    def has_column(self, column: ColumnRecord) -> bool:
        return any(column.name == other.name for other in self._dataset.manifest.columns)

    def _locate(self, document: int) -> tuple[int, int]:
        s = int(np.searchsorted(self._document_starts, document, side="right")) - 1
        return s, document - int(self._document_starts[s])

    def _starts_in(self, s: int, documents: Ints) -> Ints:
        """Token offsets in shard s of documents counted from its own first."""
        shard = self._shards[s]
        items = shard.document_bounds[documents]
        offsets = shard.pointers[np.minimum(items, shard.items - 1)] // self._tokens[s].itemsize
        offsets[items == shard.items] = len(self._tokens[s])  # nothing but empty documents follows
        return offsets

    def _find_many(self, s: int, positions: Ints, length: int, spacing: int) -> Ints:
        """The documents of shard s (whose documents take `length` positions) that hold the positions.

        Interpolation search: documents are of like length on the whole, so a few probes of the index suffice, where
        halving takes thirty and touches as many pages of a file that may be on a disk. Every fourth probe halves, which
        bounds their number whatever the lengths are.
        """
        low, low_starts = np.zeros(positions.shape, dtype=np.int64), np.zeros(positions.shape, dtype=np.int64)
        high, high_starts = np.full_like(low, self._shards[s].documents), np.full_like(low, length)
        for probe in count(1):
            middle = (low + high) // 2
            if probe % 4:
                share = (positions - low_starts) / np.maximum(high_starts - low_starts, 1)
                guess = low + (share * (high - low)).astype(np.int64)
                middle = np.minimum(np.maximum(guess, low + 1), high - 1)
            starts = self._starts_in(s, middle) + spacing * middle
            reached = starts <= positions
            low, low_starts = np.where(reached, middle, low), np.where(reached, starts, low_starts)
            high, high_starts = np.where(reached, high, middle), np.where(reached, high_starts, starts)
            if not (high - low > 1).any():
                break
        return low

    def _find_few(self, s: int, positions: Ints, length: int, spacing: int) -> Ints:
        """The same search one position at a time: for a handful of them the calls of numpy cost more."""
        found = [self._find_one(s, position, length, spacing) for position in positions.tolist()]
        return np.array(found, dtype=np.int64)

    def _find_one(self, s: int, position: int, length: int, spacing: int) -> int:
        shard, itemsize = self._shards[s], self._tokens[s].itemsize
        item_at, pointer_at = shard.document_bounds.item, shard.pointers.item
        low, low_start, high, high_start = 0, 0, shard.documents, length
        for probe in count(1):
            if high - low <= 1:
                break
            middle = (low + high) // 2
            if probe % 4:
                guess = low + (position - low_start) * (high - low) // max(1, high_start - low_start)
                middle = min(max(guess, low + 1), high - 1)
            item = item_at(middle)
            start = (pointer_at(item) // itemsize if item < shard.items else length) + spacing * middle
            if start <= position:
                low, low_start = middle, start
            else:
                high, high_start = middle, start
        return low

    def _read(self, parts: Sequence[NDArray], starts: Ints, counts: Ints, dtype: Any) -> NDArray:
        bounds = np.array(self._token_starts)
        shards = np.minimum(np.searchsorted(bounds, starts, side="right"), len(bounds) - 1) - 1
        heads = np.minimum(counts, bounds[shards + 1] - starts)
        if (heads < counts).any():  # a run goes on in the next shard: split it and try again
            starts = np.stack([starts, starts + heads], axis=1).reshape(-1)
            counts = np.stack([heads, counts - heads], axis=1).reshape(-1)
            return self._read(parts, starts, counts, dtype)
        result = np.empty(int(counts.sum()), dtype=dtype)
        ends = np.cumsum(counts).tolist()
        local = starts - bounds[shards]
        for s, first, last, end in zip(shards.tolist(), local.tolist(), (local + counts).tolist(), ends, strict=True):
            result[end - last + first : end] = parts[s][first:last]
        return result


def _by_shard(starts: Ints, values: Ints) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    """Each shard that holds some of the values, and which ones; values beyond the last shard are left out."""
    shards = np.searchsorted(starts, values, side="right") - 1
    for s in np.unique(shards).tolist():
        if s < len(starts) - 1:
            yield s, shards == s


def _starts(counts: list[int]) -> list[int]:
    """Cumulative sums from 0, one more than `counts`."""
    return [0, *np.cumsum(counts, dtype=np.int64).tolist()]
