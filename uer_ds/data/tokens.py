"""`TokenTable`: the tokens of a dataset as one long row through all shards, with document and item bounds, in batches.

Everything is read from the memory-mapped files when it is asked for; nothing of the size of the dataset is kept.
N runs of tokens, D documents asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uer_ds.data.dataset import Dataset
from uer_ds.data.document_index import DocumentIndex
from uer_ds.data.manifest import ColumnRecord

Ints = NDArray[np.int64]
FEW = 32
"""Windows of one shard that are searched one at a time rather than together."""


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
        self._indices = [DocumentIndex(shard) for shard in self._shards]
        self._document_starts = np.array(_starts([index.documents for index in self._indices]))
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
            result[here] = self._indices[s].starts(local) + self._token_starts[s] + spacing * documents[here]
        return result

    def first_item_lengths(self, documents: Ints) -> Ints:
        """Tokens of the first item of each document."""
        result = np.empty(documents.shape, dtype=np.int64)
        for s, here in _by_shard(self._document_starts, documents):
            result[here] = self._indices[s].first_item_lengths(documents[here] - self._document_starts[s])
        return result

    def last_item_starts(self, documents: Ints) -> Ints:
        """Position at which the last item of each document begins."""
        result = np.empty(documents.shape, dtype=np.int64)
        for s, here in _by_shard(self._document_starts, documents):
            local = documents[here] - self._document_starts[s]
            result[here] = self._indices[s].last_item_starts(local) + self._token_starts[s]
        return result

    def documents_in(self, starts: Ints, length: int, spacing: int = 0) -> tuple[Ints, Ints, Ints]:
        """The documents of the windows [start, start + length].

        The first document of each [B]; and all places at which a document begins (or the last one ends) inside a
        window: numbers of windows [K], distances from their starts [K], 0 to `length`.
        """
        limits = np.array(self._token_starts) + spacing * self._document_starts
        shards = np.searchsorted(limits, starts, side="right") - 1
        local = starts - limits[shards]
        together = np.bincount(shards)[shards] >= FEW
        first = np.empty(starts.shape, dtype=np.int64)
        windows, columns = [], []  # of single windows
        for number in np.flatnonzero(~together).tolist():
            first[number], places = self._walk(int(shards[number]), int(local[number]), length, spacing)
            windows += [number] * len(places)
            columns += places
        found = [(np.array(windows, dtype=np.int64), np.array(columns, dtype=np.int64))]
        for s in np.unique(shards[together]).tolist():
            numbers = np.flatnonzero(shards == s)
            first[numbers], begins = self._indices[s].begins(local[numbers], length, spacing)
            begins -= local[numbers, None]
            found.append((np.broadcast_to(numbers[:, None], begins.shape).reshape(-1), begins.reshape(-1)))
            for number in numbers[local[numbers] + length > limits[s + 1] - limits[s]].tolist():
                _, places = self._walk(s, int(local[number]), length, spacing)
                found.append((np.full(len(places), number), np.array(places)))
        all_windows, all_columns = (np.concatenate(parts) for parts in zip(*found, strict=True))
        inside = (all_columns >= 0) & (all_columns <= length)
        return first + self._document_starts[shards], all_windows[inside], all_columns[inside]

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

    def items(self, first: int, end: int) -> tuple[Ints, Ints, Ints]:
        """Of all items of the documents first .. end - 1: their documents, where they begin, and their lengths."""
        found = []
        for s, low, high in self._local_ranges(first, end):
            bounds = self._shards[s].document_bounds[low : high + 1]
            own = slice(bounds[0], bounds[-1])
            documents = np.repeat(np.arange(low, high), np.diff(bounds)) + self._document_starts[s]
            begins = self._shards[s].pointers[own] // self._tokens[s].itemsize + self._token_starts[s]
            found.append((documents, begins, self._shards[s].sizes[own].astype(np.int64)))
        documents, begins, lengths = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return documents, begins, lengths

    def item_count(self, first: int, end: int) -> int:
        """How many items the documents first .. end - 1 have."""
        bounds = [(self._shards[s].document_bounds, low, high) for s, low, high in self._local_ranges(first, end)]
        return sum(int(numbers[high] - numbers[low]) for numbers, low, high in bounds)

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

    def _local_ranges(self, first: int, end: int) -> Iterator[tuple[int, int, int]]:
        """Each shard that holds some of the documents first .. end - 1, and their range inside it."""
        for s, start in enumerate(self._document_starts[:-1].tolist()):
            low, high = max(first - start, 0), min(end - start, self._indices[s].documents)
            if low < high:
                yield s, low, high

    def _locate(self, document: int) -> tuple[int, int]:
        s = int(np.searchsorted(self._document_starts, document, side="right")) - 1
        return s, document - int(self._document_starts[s])

    def _walk(self, s: int, position: int, length: int, spacing: int) -> tuple[int, list[int]]:
        """One window that begins in shard `s` and may go on in the following ones: its first document, counted in the
        shard, and the distances at which documents begin."""
        first, begins = self._indices[s].begins_one(position, length, spacing)
        columns = [begin - position for begin in begins]
        covered = self._indices[s].length(spacing) - position
        for index in self._indices[s + 1 :] if covered <= length else ():
            if covered > length:
                break
            if index.documents:
                columns += [covered + begin for begin in index.begins_one(0, length - covered, spacing)[1]]
                covered += index.length(spacing)
        return first, columns

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
