"""`t5`: the encoder reads text whose masked runs are replaced by sentinels, the decoder writes the runs back.

Source: each run of masked tokens becomes one sentinel (<extra_id_0>, <extra_id_1>, ... within each document). Target:
[CLS] s0 tokens s1 tokens ... sn, then [SEP]; the last sentinel closes the list. Packed rows hold several documents,
each with a target of its own; a document in which nothing is masked has a target without labels.
B rows, S source tokens a row, T target tokens a row, N target tokens in the batch.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from uer_ds.data.batch import Batch
from uer_ds.data.dataset import Dataset
from uer_ds.data.samples import Objective
from uer_ds.data.tokens import TokenTable
from uer_ds.data.windows import Rows, TokenStream, open_rows
from uer_ds.errors import UserError
from uer_ds.objective_specs import OBJECTIVE_SPECS
from uer_ds.objectives.base import Flags, Ints, labels_where, make_masker, row_batch
from uer_ds.objectives.options import RowOptions


@dataclass(frozen=True)
class Runs:
    """Masked runs of a batch of rows, all [B, S].

    Attributes:
        chosen: masked positions.
        starts: those that begin a run.
        number: runs of the document up to and with this position, minus one: the run that a masked position is in.
        begins, ends: first and last position of a document.
        empty: positions of documents without any run.
    """

    chosen: Flags
    starts: Flags
    number: Ints
    begins: Flags
    ends: Flags
    empty: Flags


class SpanCorruption(Objective):
    """T5's objective; labels "lm" [B, T]."""

    spec = OBJECTIVE_SPECS["t5"]

    def __init__(self, dataset: Dataset, options: RowOptions):
        self.dataset = dataset
        self._packed = options.packed
        table = TokenTable(dataset)
        self._pad, self._cls, self._sep, _, self._sentinel = options.special_ids(self.spec)
        self._runs_limit = options.vocab_size - self._sentinel - 1  # sentinels are the last ids; one closes the target
        if self._runs_limit < 1:
            raise UserError(
                f"the vocabulary of the dataset has {self._runs_limit + 1} sentinel tokens (<extra_id_0> and those"
                " after it); the t5 objective needs at least 2: preprocess with a vocabulary that ends in"
                " sentinels (`uer-ds vocab --sentinels_num 100`)."
            )
        self._masker = make_masker(table, options, self.spec)
        stream = TokenStream(table, self._cls, self._sep, self._pad, with_words=options.whole_word_masking)
        self._rows = open_rows(stream, options.seq_length, options.packed)

    def __len__(self) -> int:
        return len(self._rows)

    def batch(self, epochs: Ints, numbers: Ints) -> Batch:
        """[B, S] source rows, a decoder of [B, T], labels "lm" [B, T]; T is the longest target of the batch."""
        rows = self._rows.read(numbers)
        chosen, _ = self._masker.choose(rows.ids, rows.segments, epochs, numbers, rows.word_starts)
        runs = find_runs(rows, chosen, self._runs_limit)
        target, wanted = self._target(rows, runs)
        source = row_batch(self._source(rows, runs), self._packed, {"lm": labels_where(wanted >= 0, wanted)})
        return dataclasses.replace(source, decoder=row_batch(target, self._packed, {}))

    def _source(self, rows: Rows, runs: Runs) -> Rows:
        kept = (rows.segments > 0) & (~runs.chosen | runs.starts)
        ids = np.where(runs.starts, self._sentinel + runs.number, rows.ids)
        return self._rows_from(ids[kept], rows.documents[kept], kept.sum(axis=1), rows.ids.shape[1])

    def _target(self, rows: Rows, runs: Runs) -> tuple[Rows, Ints]:
        """Decoder rows, and labels [B, T] (-1: none)."""
        # Tokens that each source position gives: [CLS], its run's sentinel, itself, the closing sentinel; any of them.
        gives = np.stack([runs.begins, runs.starts, runs.chosen, runs.ends], axis=-1)  # [B, S, 4]
        sentinels = self._sentinel + runs.number
        tokens = np.stack([np.full_like(rows.ids, self._cls), sentinels, rows.ids, sentinels + 1], axis=-1)
        ids = tokens[gives]  # [N]
        documents = np.broadcast_to(rows.documents[..., None], gives.shape)[gives]
        counts = gives.sum(axis=(1, 2))
        target = self._rows_from(ids, documents, counts, int(counts.max(initial=0)))
        closing = np.broadcast_to(np.arange(4) == 3, gives.shape)[gives]
        following = np.where(closing, self._sep, np.append(ids[1:], self._sep))
        following[np.broadcast_to(runs.empty[..., None], gives.shape)[gives]] = -1
        labels = np.full(target.ids.shape, -1, dtype=np.int64)
        labels[target.segments > 0] = following
        return target, labels

    def _rows_from(self, ids: Ints, documents: Ints, counts: Ints, length: int) -> Rows:
        """Rows of `counts` [B] tokens each, padded to `length`; pads get the next document number."""
        columns = np.arange(length)
        real = columns < counts[:, None]
        row_ids = np.full(real.shape, self._pad, dtype=np.int64)
        row_documents = np.zeros(real.shape, dtype=np.int64)
        row_ids[real], row_documents[real] = ids, documents
        row_documents = np.where(real, row_documents, row_documents.max(axis=1, initial=0)[:, None] + 1)
        begins = np.diff(row_documents, axis=1, prepend=-1) != 0
        positions = columns - np.maximum.accumulate(np.where(begins, columns, 0), axis=1)
        return Rows(row_ids, row_documents, positions, real.astype(np.int64))


def find_runs(rows: Rows, chosen: Flags, limit: int) -> Runs:
    """The runs of chosen positions, at most `limit` in a document; positions of later runs are no longer chosen."""
    real = rows.segments > 0
    changes = np.diff(rows.documents, axis=1) != 0
    begins, ends = real.copy(), real.copy()
    begins[:, 1:] &= changes
    ends[:, :-1] &= changes
    starts = chosen.copy()
    starts[:, 1:] &= ~chosen[:, :-1] | begins[:, 1:]
    number = number_within(starts, begins)
    chosen = chosen & (number < limit)
    starts &= chosen
    number = np.minimum(number, limit - 1)
    document = np.cumsum(begins).reshape(begins.shape)
    has_runs = np.bincount(document[starts], minlength=int(document.max(initial=0)) + 1) > 0
    return Runs(chosen, starts, number, begins, ends, ~has_runs[document])


def number_within(starts: Flags, begins: Flags) -> Ints:
    """[B, S] starts in the document up to and with each position, minus one."""
    counted: NDArray[np.int64] = np.cumsum(starts, axis=1)
    before = np.maximum.accumulate(np.where(begins, counted - starts, 0), axis=1)
    return counted - before - 1
