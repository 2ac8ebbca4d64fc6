"""Rows of tokens read straight from the shards: windows over the stream of all documents, or pieces of documents.

The virtual stream is every document as [CLS] tokens [SEP], one after another; the special tokens are added on reading
and shards hold neither. Nothing of the size of the dataset is held in memory: the documents of a row are found by
binary search in the memory-mapped index, and only `PieceIndex`, which must count pieces, reads the document table once.
B rows, L tokens a row, K documents touched by a batch of rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from uer_ds.data.columns import WORD_START
from uer_ds.data.tokens import TokenTable

Ints = NDArray[np.int64]
BRACKETS = 2
"""Special tokens that the stream adds to a document."""
BLOCK = 128
"""Documents per entry of a piece index: 8 bytes of memory for each 128 documents."""


@dataclass(frozen=True)
class Rows:
    """Token rows. Padding has segment 0 and a document number of its own.

    Attributes:
        ids: [B, L] int64.
        documents: [B, L] int64, number of the document within the row, ascending from 0.
        positions: [B, L] int64, position in the part of the document that is in the row.
        segments: [B, L] int64, 1 for tokens, 0 for padding.
        word_starts: [B, L] bool, a word begins here; None when the dataset does not know.
    """

    ids: Ints
    documents: Ints
    positions: Ints
    segments: Ints
    word_starts: NDArray[np.bool_] | None = None


class TokenStream:
    """The virtual token stream of a dataset; `with_words` also reads the word bounds where the dataset has them."""

    def __init__(self, table: TokenTable, cls_id: int, sep_id: int, pad_id: int, with_words: bool = False):
        self.table = table
        self._cls, self._sep, self._pad = cls_id, sep_id, pad_id
        self._with_words = with_words and table.has_column(WORD_START)
        self.length = table.tokens + BRACKETS * table.documents

    def read(self, starts: Ints, length: int) -> Rows:
        """The windows [start, start + length) of the stream; what lies beyond its end is padding."""
        first, begins = self._document_marks(starts, length)
        columns = np.arange(length)
        valid = starts[:, None] + columns < self.length  # [B, L]
        documents: Ints = np.cumsum(begins[:, :-1], axis=1) - begins[:, :1]
        positions = columns - np.maximum.accumulate(np.where(begins[:, :-1], columns, 0), axis=1)
        opening, closing = begins[:, :-1] & valid, begins[:, 1:] & valid
        inner = valid & ~opening & ~closing
        # Before a window that starts inside document d lie 2 d + 1 special tokens, before one at its [CLS] 2 d.
        runs = starts - BRACKETS * first - ~begins[:, 0], inner.sum(axis=1)
        ids = np.full(valid.shape, self._pad, dtype=np.int64)
        ids[opening], ids[closing], ids[inner] = self._cls, self._sep, self.table.read(*runs)
        words = self._word_starts(inner, runs) if self._with_words else None
        return Rows(ids, documents, positions, valid.astype(np.int64), words)

    def read_first(self, starts: Ints, length: int) -> Rows:
        """As `read`, but what follows the document in which a window begins becomes padding."""
        rows = self.read(starts, length)
        kept = (rows.documents == 0) & (rows.segments > 0)
        return Rows(
            ids=np.where(kept, rows.ids, np.int64(self._pad)),
            documents=(~kept).astype(np.int64),
            positions=np.where(kept, rows.positions, np.int64(0)),
            segments=kept.astype(np.int64),
            word_starts=rows.word_starts,
        )

    def _document_marks(self, starts: Ints, length: int) -> tuple[Ints, NDArray[np.bool_]]:
        """The first document of each window, and [B, L + 1] flags (one column more): a document begins here."""
        first, windows, columns = self.table.documents_in(starts, length, BRACKETS)
        begins = np.zeros((len(starts), length + 1), dtype=bool)
        begins[windows, columns] = True
        return first, begins

    def _word_starts(self, inner: NDArray[np.bool_], runs: tuple[Ints, Ints]) -> NDArray[np.bool_]:
        result = np.zeros(inner.shape, dtype=bool)
        result[inner] = self.table.read_column(WORD_START, *runs) != 0
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

    Piece k of a document is its window [k S, k S + S + overlap). Opening costs what `PieceIndex` costs.
    """

    def __init__(self, stream: TokenStream, seq_length: int, overlap: int = 0):
        self._stream, self._stride, self._overlap = stream, seq_length, overlap
        self._index = PieceIndex(stream.table.documents, self._count_pieces)

    def __len__(self) -> int:
        return len(self._index)

    def read(self, numbers: Ints) -> Rows:
        """The rows of these numbers."""
        documents, pieces = self._index.locate(numbers)
        starts = self._stream.table.document_starts(documents, BRACKETS) + pieces * self._stride
        return self._stream.read_first(starts, self._stride + self._overlap)

    def lengths(self, numbers: Ints) -> Ints:
        """Real tokens in the first S columns of each of these rows, [B]."""
        documents, pieces = self._index.locate(numbers)
        starts, ends = (self._stream.table.document_starts(documents + step, BRACKETS) for step in (0, 1))
        return np.minimum(ends - starts - pieces * self._stride, self._stride)

    def _count_pieces(self, documents: Ints) -> Ints:
        lengths = np.diff(self._stream.table.document_starts(documents, BRACKETS)) - self._overlap
        return np.maximum(1, -(-lengths // self._stride))


class PieceIndex:
    """Numbers the pieces of all documents.

    `count_pieces` takes consecutive document numbers [..., K + 1] and returns the pieces of the first K [..., K]. It is
    called once for all documents here (some 3 x 10^7 a second); one number is kept for each 128 documents.
    """

    def __init__(self, documents: int, count_pieces: Callable[[Ints], Ints]):
        self._documents, self._count_pieces = documents, count_pieces
        counts = [np.zeros(1, dtype=np.int64)]
        for first in range(0, documents, BLOCK * 1024):
            pieces = count_pieces(np.arange(first, min(first + BLOCK * 1024, documents) + 1))
            counts.append(np.add.reduceat(pieces, np.arange(0, len(pieces), BLOCK)))
        self._before = np.cumsum(np.concatenate(counts))  # pieces before each block, then all

    def __len__(self) -> int:
        return int(self._before[-1])

    def locate(self, numbers: Ints) -> tuple[Ints, Ints]:
        """(document, piece within it) of each piece number."""
        blocks = np.searchsorted(self._before, numbers, side="right") - 1
        documents = blocks[:, None] * BLOCK + np.arange(BLOCK + 1)  # [B, BLOCK + 1]
        ends = np.cumsum(self._count_pieces(np.minimum(documents, self._documents)), axis=1)
        rest = numbers - self._before[blocks]
        which = (ends <= rest[:, None]).sum(axis=1)
        rows = np.arange(len(numbers))
        return documents[rows, which], rest - np.where(which > 0, ends[rows, which - 1], 0)


def row_lengths(rows: PackedRows | DocumentRows) -> Callable[[Ints, Ints], Ints] | None:
    """(epochs, numbers) -> tokens of each row; None where all rows are full."""
    return None if isinstance(rows, PackedRows) else lambda _, numbers: rows.lengths(numbers)


def open_rows(stream: TokenStream, seq_length: int, packed: bool, overlap: int = 0) -> PackedRows | DocumentRows:
    """The rows of a stream, packed or one document a row."""
    return (PackedRows if packed else DocumentRows)(stream, seq_length, overlap)
