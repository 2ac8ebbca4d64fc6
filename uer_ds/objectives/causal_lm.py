"""`lm`: predict the next token of full rows (or of one document a row).

Rows overlap by one token, so every token of the corpus except the [CLS] that opens a document is predicted exactly
once in an epoch. The last token of a document predicts nothing, and padding is never trained (UER-py trains one pad in
every short row).
"""

from __future__ import annotations

from uer_ds.data.batch import Batch
from uer_ds.data.dataset import Dataset
from uer_ds.data.samples import Objective
from uer_ds.data.tokens import TokenTable
from uer_ds.data.windows import Rows, TokenStream, open_rows, row_lengths
from uer_ds.objective_specs import OBJECTIVE_SPECS
from uer_ds.objectives.base import Ints, labels_where, row_batch
from uer_ds.objectives.options import RowOptions


class CausalLanguageModel(Objective):
    """Next-token prediction within documents."""

    spec = OBJECTIVE_SPECS["lm"]

    def __init__(self, dataset: Dataset, options: RowOptions):
        self.dataset = dataset
        self._packed = options.packed
        pad, cls, sep = options.special_ids(self.spec)
        stream = TokenStream(TokenTable(dataset), cls, sep, pad)
        self._rows = open_rows(stream, options.seq_length, options.packed, overlap=1)
        self.lengths = row_lengths(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def batch(self, epochs: Ints, numbers: Ints) -> Batch:
        """[B, S] rows; labels "lm" [B, S] hold the id that follows each position in its document."""
        rows = self._rows.read(numbers)  # [B, S + 1]
        same_document = rows.documents[:, 1:] == rows.documents[:, :-1]
        predicted = same_document & (rows.segments[:, 1:] > 0)
        parts = (rows.ids, rows.documents, rows.positions, rows.segments)
        ids, documents, positions, segments = (part[:, :-1] for part in parts)
        source = Rows(ids, documents, positions, segments)
        return row_batch(source, self._packed, {"lm": labels_where(predicted, rows.ids[:, 1:])})
