"""Rows of tokens read straight from the shards: windows over the stream of all documents, or pieces of single
documents.

The virtual stream is every document as [CLS] tokens [SEP], one after another; the special tokens are added on reading
and shards hold neither. Nothing of the size of the dataset is held in memory: the documents of a row are found by
binary search in the memory-mapped index (`PackedRows`), and only `DocumentRows`, which must count pieces, reads the
document table once. B rows, L tokens a row, K documents touched by a batch of rows.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
BLOCK = 256
"""Documents per entry of the piece index: 8 bytes of memory for each 256 documents."""
FEW = 16
"""Positions that are searched one at a time rather than together."""


@dataclass(frozen=True)
class Rows:
    """Token rows. Padding has segment 0 and a document number of its own.

    Attributes:
        ids: [B, L] int64.
        documents: [B, L] int64, number of the document within the row, ascending from 0.
        positions: [B, L] int64, position in the part of the document that is in the row.
        segments: [B, L] int64, 1 for tokens, 0 for padding.
    """

    ids: Ints
    documents: Ints
    positions: Ints
    segments: Ints


class TokenStream:
    """The virtual token stream of a dataset.

    Without `brackets` documents follow each other with nothing between them.
    """

    def __init__(self, dataset: Any, cls_id: int, sep_id: int, pad_id: int, brackets: bool = True):
        self._shards = dataset.shards
        self._cls, self._sep, self.pad_id = cls_id, sep_id, pad_id
        self._extra = 2 if brackets else 0  # special tokens a document
        self._tokens = [np.asarray(shard.tokens) for shard in self._shards]
        self._token_starts = _starts([len(tokens) for tokens in self._tokens])
        self._document_starts = np.array(_starts([shard.documents if shard.items else 0 for shard in self._shards]))
        self._stream_starts = np.array(self._token_starts) + self._extra * self._document_starts
        self.documents = int(self._document_starts[-1])
        self.length = int(self._stream_starts[-1])

    def starts_of(self, documents: Ints) -> Ints:
        """Stream position at which each document begins; the number of documents itself gives the stream's end."""
        result = np.full(documents.shape, self.length, dtype=np.int64)
        for s, here in _by_shard(self._document_starts, documents):
            result[here] = self._starts_in(s, documents[here] - self._document_starts[s]) + self._stream_starts[s]
        return result

    def find(self, positions: Ints) -> Ints:
        """The document that holds each stream position: the last one that begins at or before it."""
        result = np.empty(positions.shape, dtype=np.int64)
        for s, here in _by_shard(self._stream_starts, positions):
            result[here] = self._find_in(s, positions[here] - self._stream_starts[s]) + self._document_starts[s]
        return result

    def _starts_in(self, s: int, documents: Ints) -> Ints:
        """`starts_of` within shard s: documents and positions counted from its own first."""
        shard = self._shards[s]
        items = shard.document_bounds[documents]
        offsets = shard.pointers[np.minimum(items, shard.items - 1)] // self._tokens[s].itemsize
        offsets[items == shard.items] = len(self._tokens[s])  # nothing but empty documents follows
        return offsets + self._extra * documents

    def _find_in(self, s: int, positions: Ints) -> Ints:
        if len(positions) < FEW:
            return self._find_few_in(s, positions)
        low = np.zeros(positions.shape, dtype=np.int64)
        high = np.full(positions.shape, self._shards[s].documents, dtype=np.int64)
        while (high - low > 1).any():
            middle = (low + high) // 2
            reached = self._starts_in(s, middle) <= positions
            low, high = np.where(reached, middle, low), np.where(reached, high, middle)
        return low

    def _find_few_in(self, s: int, positions: Ints) -> Ints:
        """The same search one position at a time: numpy's price of a call is too high for a handful of numbers."""
        shard = self._shards[s]

        def start(document: int) -> int:
            return shard.token_start(shard.document_bounds.item(document)) + self._extra * document

        found = [bisect_right(range(shard.documents), position, key=start) - 1 for position in positions.tolist()]
        return np.array(found, dtype=np.int64)

    def read(self, starts: Ints, length: int) -> Rows:
        """The windows [start, start + length) of the stream; what lies beyond its end is padding."""
        first, begins = self._document_marks(starts, length)
        columns = np.arange(length)
        valid = starts[:, None] + columns < self.length  # [B, L]
        documents: Ints = np.cumsum(begins[:, :-1], axis=1) - begins[:, :1]
        positions = columns - np.maximum.accumulate(np.where(begins[:, :-1], columns, 0), axis=1)
        ids = np.full(valid.shape, self.pad_id, dtype=np.int64)
        inner = valid
        if self._extra:
            opening, closing = begins[:, :-1] & valid, begins[:, 1:] & valid
            ids[opening], ids[closing] = self._cls, self._sep
            inner = valid & ~opening & ~closing
        # Before a window that starts inside document d lie 2 d + 1 special tokens, before one at its [CLS] 2 d.
        skipped = self._extra * first + (~begins[:, 0] if self._extra else 0)
        ids[inner] = self._read_tokens(starts - skipped, inner.sum(axis=1))
        return Rows(ids, documents, positions, valid.astype(np.int64))

    def _document_marks(self, starts: Ints, length: int) -> tuple[Ints, NDArray[np.bool_]]:
        """The first document of each window, and [B, L + 1] flags (one column more): a document begins here."""
        ends = np.minimum(starts + length, self.length) - 1
        first, last = np.split(self.find(np.concatenate([starts, ends])), 2)
        counts = last - first + 2  # with the one that begins behind the window
        rows = np.repeat(np.arange(len(starts)), counts)  # [K]
        within = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
        columns = self.starts_of(first[rows] + within) - starts[rows]
        begins = np.zeros((len(starts), length + 1), dtype=bool)
        visible = (columns >= 0) & (columns <= length)
        begins[rows[visible], columns[visible]] = True
        return first, begins

    def _read_tokens(self, starts: Ints, counts: Ints) -> Ints:
        """Runs of stored tokens (positions without special tokens) one after another, across shards if need be."""
        result = np.empty(int(counts.sum()), dtype=np.int64)
        cursor = 0
        for start, count in zip(starts.tolist(), counts.tolist(), strict=True):
            while count:
                shard = bisect_right(self._token_starts, start) - 1
                local = start - self._token_starts[shard]
                run = self._tokens[shard][local : local + count]
                result[cursor : cursor + len(run)] = run
                cursor, start, count = cursor + len(run), start + len(run), count - len(run)
        return result


class PackedRows:
    """Full rows: row r is the window [r S, r S + S + overlap) of the stream. Opens in constant time."""

    def __init__(self, stream: TokenStream, seq_length: int, overlap: int = 0):
        self._stream, self._stride, self._overlap = stream, seq_length, overlap

    def __len__(self) -> int:
        return max(0, -(-(self._stream.length - self._overlap) // self._stride))

    def read(self, numbers: Ints) -> Rows:
        """The rows of these numbers."""
        return self._stream.read(numbers * self._stride, self._stride + self._overlap)


class DocumentRows:
    """UER-py's rows: every document is cut into pieces of S tokens, one piece a row, the rest padding.

    Piece k of a document is its window [k S, k S + S + overlap). Counting the pieces reads the document table once
    when it is opened (about a second for 10^8 documents) and keeps one number for each 256 documents.
    """

    def __init__(self, stream: TokenStream, seq_length: int, overlap: int = 0):
        self._stream, self._stride, self._overlap = stream, seq_length, overlap
        blocks = range(0, stream.documents, BLOCK * 1024)
        counts = [np.add.reduceat(c, np.arange(0, len(c), BLOCK)) for c in map(self._counts_from, blocks)]
        self._index = np.cumsum(np.concatenate([np.zeros(1, dtype=np.int64), *counts]))

    def __len__(self) -> int:
        return int(self._index[-1])

    def read(self, numbers: Ints) -> Rows:
        """The rows of these numbers."""
        documents, pieces = self._locate(numbers)
        starts = self._stream.starts_of(documents) + pieces * self._stride
        return first_documents(self._stream.read(starts, self._stride + self._overlap), self._stream.pad_id)

    def _counts_from(self, first: int) -> Ints:
        """Pieces of each document of the blocks that begin with document `first`."""
        last = min(first + BLOCK * 1024, self._stream.documents)
        return self._pieces(np.diff(self._stream.starts_of(np.arange(first, last + 1))))

    def _pieces(self, lengths: Ints) -> Ints:
        return np.maximum(1, -(-(lengths - self._overlap) // self._stride))

    def _locate(self, numbers: Ints) -> tuple[Ints, Ints]:
        """Document and piece of each row."""
        blocks = np.searchsorted(self._index, numbers, side="right") - 1
        candidates = np.minimum(
            blocks[:, None] * BLOCK + np.arange(BLOCK + 1), self._stream.documents
        )  # [B, BLOCK + 1]
        lengths = np.diff(self._stream.starts_of(candidates), axis=1)
        ends = np.cumsum(self._pieces(lengths), axis=1)
        rest = numbers - self._index[blocks]
        which = (ends <= rest[:, None]).sum(axis=1)
        before = np.where(which > 0, ends[np.arange(len(which)), which - 1], 0)
        return candidates[np.arange(len(which)), which], rest - before


def first_documents(rows: Rows, pad_id: int) -> Rows:
    """Rows of which only the first document is kept; the rest becomes padding."""
    kept = (rows.documents == 0) & (rows.segments > 0)
    zero = np.int64(0)
    return Rows(
        ids=np.where(kept, rows.ids, pad_id),
        documents=(~kept).astype(np.int64),
        positions=np.where(kept, rows.positions, zero),
        segments=kept.astype(np.int64),
    )


def open_rows(stream: TokenStream, seq_length: int, packed: bool, overlap: int = 0) -> PackedRows | DocumentRows:
    """The rows of a stream, packed or one document a row."""
    return (PackedRows if packed else DocumentRows)(stream, seq_length, overlap)


def _starts(counts: list[int]) -> list[int]:
    """Cumulative sums from 0, one more than `counts`."""
    return [0, *np.cumsum(counts, dtype=np.int64).tolist()]


def _by_shard(starts: Ints, values: Ints) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    """Each shard that holds some of the values, and which ones; values beyond the last shard are left out."""
    shards = np.searchsorted(starts, values, side="right") - 1
    for s in np.unique(shards).tolist():
        if s < len(starts) - 1:
            yield s, shards == s
