"""`mlm`: predict masked tokens of full rows (or of one document a row), masked anew in every epoch."""

from __future__ import annotations

import dataclasses

from uer_ds.data.batch import Batch
from uer_ds.data.dataset import Dataset
from uer_ds.data.samples import Objective
from uer_ds.data.tokens import TokenTable
from uer_ds.data.windows import TokenStream, open_rows, row_lengths
from uer_ds.objective_specs import OBJECTIVE_SPECS
from uer_ds.objectives.base import Ints, labels_where, make_masker, row_batch
from uer_ds.objectives.options import RowOptions


class MaskedLanguageModel(Objective):
    """BERT's masked language model without a sentence task."""

    spec = OBJECTIVE_SPECS["mlm"]

    def __init__(self, dataset: Dataset, options: RowOptions):
        self.dataset = dataset
        self._packed = options.packed
        table = TokenTable(dataset)
        self._masker = make_masker(table, options, self.spec)
        pad, cls, sep = options.special_ids(self.spec)[:3]
        stream = TokenStream(table, cls, sep, pad, with_words=options.whole_word_masking)
        self._rows = open_rows(stream, options.seq_length, options.packed)
        self.lengths = row_lengths(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def batch(self, epochs: Ints, numbers: Ints) -> Batch:
        """[B, S] rows; labels "mlm" [B, S] hold the true ids of the masked positions."""
        rows = self._rows.read(numbers)
        ids, chosen = self._masker.mask(rows.ids, rows.segments, epochs, numbers, rows.word_starts)
        labels = {"mlm": labels_where(chosen, rows.ids)}
        return row_batch(dataclasses.replace(rows, ids=ids), self._packed, labels)
