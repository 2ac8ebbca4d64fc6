"""What the objectives share: row assembly, masking set-up, and how rows of token ids become a `Batch`.

What an objective must be is `uer_ds.data.samples.Objective`. B rows, S source tokens a row, T target tokens a row.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from uer_ds.data.batch import IGNORE, Batch
from uer_ds.data.columns import WORD_START
from uer_ds.data.masking import Masker
from uer_ds.data.tokens import TokenTable
from uer_ds.data.windows import Rows
from uer_ds.errors import UserError
from uer_ds.objective_specs import ObjectiveSpec
from uer_ds.objectives.options import RowOptions

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


def make_masker(table: TokenTable, options: RowOptions, spec: ObjectiveSpec) -> Masker:
    """The masker of an objective; `UserError` when words are wanted whose bounds nothing tells."""
    *brackets, mask = options.special_ids(spec)[:4]
    if options.whole_word_masking and not table.has_column(WORD_START):
        raise UserError(
            f"--whole_word_masking: {table.folder} holds no word bounds; make the dataset again with"
            " --whole_word_masking, or train without it."
        )
    return Masker(options.vocab_size, mask, tuple(brackets), options.seed, options)


class RowBuilder:
    """Builds [B, S] rows from left to right out of special tokens and runs of stored tokens; what does not fit is cut.

    Attributes:
        ids: [B, S] int64, padded.
        segments: [B, S] int64, 0 where nothing was added.
        word_starts: [B, S] bool, or None when words were not asked for or the dataset does not know them.
        lengths: [B] int64, tokens added so far.
    """

    def __init__(self, table: TokenTable, rows: int, length: int, pad_id: int, with_words: bool = False):
        self._table, self._columns = table, np.arange(length)
        self.ids = np.full((rows, length), pad_id, dtype=np.int64)
        self.segments = np.zeros((rows, length), dtype=np.int64)
        self.lengths = np.zeros(rows, dtype=np.int64)
        with_words = with_words and table.has_column(WORD_START)
        self.word_starts = np.zeros((rows, length), dtype=bool) if with_words else None

    def add_token(self, token_id: int, segment: int, rows: Flags | None = None) -> None:
        """Append one special token to all rows, or to those flagged."""
        counts = np.ones_like(self.lengths) if rows is None else rows.astype(np.int64)
        self.ids[self._advance(counts, segment)[0]] = token_id

    def add_run(self, starts: Ints, counts: Ints, segment: int) -> None:
        """Append the stored tokens [start, start + count) to each row."""
        where, counts = self._advance(counts, segment)
        self.ids[where] = self._table.read(starts, counts)
        if self.word_starts is not None:
            self.word_starts[where] = self._table.read_column(WORD_START, starts, counts) != 0

    def _advance(self, counts: Ints, segment: int) -> tuple[Flags, Ints]:
        counts = np.minimum(counts, len(self._columns) - self.lengths)
        ends = self.lengths + counts
        where = (self._columns >= self.lengths[:, None]) & (self._columns < ends[:, None])
        self.segments[where] = segment
        self.lengths = ends
        return where, counts


def pair_runs(table: TokenTable, documents: Ints) -> Ints:
    """Starts and counts of the first two items of each document, [4, B]; the second is empty if there is only one."""
    result = np.zeros((4, len(documents)), dtype=np.int64)
    for i, document in enumerate(documents.tolist()):
        starts = table.item_starts(document)[:3]
        counts = np.diff(starts)
        result[0 : 2 * len(counts) : 2, i], result[1 : 2 * len(counts) : 2, i] = starts[:-1], counts
    return result


def row_batch(rows: Rows, packed: bool, labels: dict[str, Tensor]) -> Batch:
    """A batch of rows without decoder; positions and documents are only needed when rows hold several documents."""
    return Batch(
        ids=tensor(rows.ids),
        segments=tensor(rows.segments),
        positions=tensor(rows.positions) if packed else None,
        documents=tensor(rows.documents) if packed else None,
        labels=labels,
    )


def shifted(targets: RowBuilder, pad_id: int) -> tuple[Batch, Tensor]:
    """Decoder input and labels [B, T] of target rows [B, T + 1]: each token predicts the next one, pads nothing."""
    predicts = targets.segments[:, 1:] > 0
    real = predicts.copy()
    real[:, 0] = True  # a row without target keeps its first token: attention over nothing has no value
    ids = np.where(real, targets.ids[:, :-1], np.int64(pad_id))
    decoder = Batch(ids=tensor(ids), segments=tensor(real.astype(np.int64)))
    return decoder, labels_where(predicts, targets.ids[:, 1:])


def tensor(array: NDArray) -> Tensor:
    """A contiguous tensor of the same numbers, without a copy where possible."""
    return torch.from_numpy(np.ascontiguousarray(array))


def labels_where(chosen: Flags, ids: Ints) -> Tensor:
    """[B, S] labels: the id where `chosen`, `IGNORE` elsewhere."""
    return torch.from_numpy(np.where(chosen, ids, np.int64(IGNORE)))
