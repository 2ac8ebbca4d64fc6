"""`bilm`: predict the next token from the left and the previous one from the right (ELMo's way).

The input has neither [CLS] nor [SEP]. One document (or a piece of it) a row: recurrent encoders carry their state along
the row and know no document bounds.
"""

from __future__ import annotations

import numpy as np

from uer_ds.data.batch import Batch
from uer_ds.data.dataset import Dataset
from uer_ds.data.samples import Objective
from uer_ds.data.tokens import TokenTable
from uer_ds.data.windows import DocumentRows, TokenStream
from uer_ds.objective_specs import OBJECTIVE_SPECS
from uer_ds.objectives.base import Ints, labels_where, tensor
from uer_ds.objectives.options import RowOptions


class BidirectionalLanguageModel(Objective):
    """Two language models, one in each direction."""

    spec = OBJECTIVE_SPECS["bilm"]

    def __init__(self, dataset: Dataset, options: RowOptions):
        self.dataset = dataset
        self._pad, cls, sep = options.special_ids(self.spec)
        # A window of S + 2 over [CLS] tokens [SEP] holds S tokens with their neighbours on both sides.
        stream = TokenStream(TokenTable(dataset), cls, sep, self._pad)
        self._rows = DocumentRows(stream, options.seq_length, overlap=2)

    def __len__(self) -> int:
        return len(self._rows)

    def batch(self, epochs: Ints, numbers: Ints) -> Batch:
        """[B, S] rows; labels "bilm_forward": the next id or, last, [SEP]; "bilm_backward": the one before or [CLS]."""
        rows = self._rows.read(numbers)  # [B, S + 2]
        real = rows.segments[:, 2:] > 0  # the neighbour on the right is still in the document
        return Batch(
            ids=tensor(np.where(real, rows.ids[:, 1:-1], np.int64(self._pad))),
            segments=tensor(real.astype(np.int64)),
            labels={
                "bilm_forward": labels_where(real, rows.ids[:, 2:]),
                "bilm_backward": labels_where(real, rows.ids[:, :-2]),
            },
        )
