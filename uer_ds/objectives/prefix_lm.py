"""`prefixlm` and `llm_sft`: a decoder-only model reads a prompt and predicts the answer. One pair a row, padded.

Exactly the tokens of the answer and its closing [SEP] have labels. (UER-py trains zeros on the prefix, or with
--prefix_lm_loss misses the first token of the answer.) A prompt that leaves no room for an answer gives a row without
labels, which adds nothing to the loss; UER-py skips it.
"""

from __future__ import annotations

import numpy as np

from uer_ds.data.batch import Batch
from uer_ds.data.dataset import Dataset
from uer_ds.data.tokens import TokenTable
from uer_ds.objective_specs import OBJECTIVE_SPECS
from uer_ds.objectives.base import Ints, RowBuilder, labels_where, pair_runs, tensor
from uer_ds.objectives.options import RowOptions


class PrefixLanguageModel:
    """[CLS] source [SEP] target [SEP]; labels "lm" [B, S]. The prefix (segment 1) is the source with its brackets."""

    spec = OBJECTIVE_SPECS["prefixlm"]
    closes_prompt = True

    def __init__(self, dataset: Dataset, options: RowOptions):
        self.dataset = dataset
        self._table, self._seq_length = TokenTable(dataset), options.seq_length
        self._pad, self._cls, self._sep = options.special_ids(self.spec)

    def __len__(self) -> int:
        return self._table.documents

    def batch(self, epochs: Ints, numbers: Ints) -> Batch:
        """[B, S] rows; labels "lm" [B, S] hold the id that follows, where it belongs to the answer."""
        rows = self._rows(numbers)  # [B, S + 1]
        answer = rows.segments[:, 1:] == 2
        ids, segments = rows.ids[:, :-1], self._segments(rows.segments)
        labels = labels_where(answer, rows.ids[:, 1:])
        return Batch(ids=tensor(ids), segments=tensor(segments), labels={"lm": labels})

    def _rows(self, numbers: Ints) -> RowBuilder:
        a_starts, a_counts, b_starts, b_counts = pair_runs(self._table, numbers)
        rows = RowBuilder(self._table, len(numbers), self._seq_length + 1, self._pad)
        rows.add_token(self._cls, 1)
        rows.add_run(a_starts, a_counts, 1)
        if self.closes_prompt:
            rows.add_token(self._sep, 1)
        rows.add_run(b_starts, b_counts, 2)
        rows.add_token(self._sep, 2)
        return rows

    def _segments(self, segments: Ints) -> Ints:
        """Segments of the input [B, S] from those of the whole row [B, S + 1]."""
        return segments[:, :-1]


class InstructionTuning(PrefixLanguageModel):
    """[CLS] prompt answer [SEP], as TencentPretrain; a position has segment 2 when what it predicts is the answer's."""

    spec = OBJECTIVE_SPECS["llm_sft"]
    closes_prompt = False

    def _segments(self, segments: Ints) -> Ints:
        return np.array(segments[:, 1:])
