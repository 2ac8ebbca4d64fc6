"""`cls` and `cls_mlm`: predict the label of a text or of a pair of texts.

Rows are UER-py's: a single text is [CLS] text for `cls` and [CLS] text [SEP] for `cls_mlm`, a pair is
[CLS] a [SEP] b [SEP] for both; cut to S.
"""

from __future__ import annotations

import dataclasses

import torch

from uer_ds.data.batch import Batch
from uer_ds.data.columns import LABEL
from uer_ds.data.dataset import Dataset
from uer_ds.data.samples import Objective
from uer_ds.data.tokens import TokenTable
from uer_ds.objective_specs import OBJECTIVE_SPECS
from uer_ds.objectives.base import Ints, RowBuilder, labels_where, make_masker, pair_runs, tensor
from uer_ds.objectives.options import RowOptions


class Classification(Objective):
    """The class of a text; labels "cls" [B]."""

    spec = OBJECTIVE_SPECS["cls"]
    closes_single_text = False

    def __init__(self, dataset: Dataset, options: RowOptions):
        self.dataset = dataset
        self._table, self._seq_length = TokenTable(dataset), options.seq_length
        self._with_words = False
        self._pad, self._cls, self._sep = options.special_ids(self.spec)[:3]

    def __len__(self) -> int:
        return self._table.documents

    def batch(self, epochs: Ints, numbers: Ints) -> Batch:
        """[B, S] rows; labels "cls" [B]."""
        return self._plain_batch(self._rows(numbers), numbers)

    def _plain_batch(self, rows: RowBuilder, numbers: Ints) -> Batch:
        labels = {"cls": torch.from_numpy(self._table.document_column(LABEL, numbers))}
        return Batch(ids=tensor(rows.ids), segments=tensor(rows.segments), labels=labels)

    def _rows(self, numbers: Ints) -> RowBuilder:
        a_starts, a_counts, b_starts, b_counts = pair_runs(self._table, numbers)
        is_pair = b_counts > 0
        rows = RowBuilder(self._table, len(numbers), self._seq_length, self._pad, self._with_words)
        rows.add_token(self._cls, 1)
        rows.add_run(a_starts, a_counts, 1)
        rows.add_token(self._sep, 1, is_pair | self.closes_single_text)
        rows.add_run(b_starts, b_counts, 2)
        rows.add_token(self._sep, 2, is_pair)
        return rows


class ClassificationMlm(Classification):
    """The class of a text and its masked tokens; labels "cls" [B] and "mlm" [B, S]."""

    spec = OBJECTIVE_SPECS["cls_mlm"]
    closes_single_text = True

    def __init__(self, dataset: Dataset, options: RowOptions):
        super().__init__(dataset, options)
        self._with_words = options.whole_word_masking
        self._masker = make_masker(self._table, options, self.spec)

    def batch(self, epochs: Ints, numbers: Ints) -> Batch:
        """[B, S] rows; labels "cls" [B] and "mlm" [B, S]."""
        rows = self._rows(numbers)
        ids, chosen = self._masker.mask(rows.ids, rows.segments, epochs, numbers, rows.word_starts)
        batch = self._plain_batch(rows, numbers)
        labels = {**batch.labels, "mlm": labels_where(chosen, rows.ids)}
        return dataclasses.replace(batch, ids=tensor(ids), labels=labels)
