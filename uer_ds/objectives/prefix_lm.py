"""`prefixlm` and `llm_sft`: a decoder-only model reads a prompt and predicts the answer. One pair a row, padded.

Exactly the tokens of the answer and its closing [SEP] have labels. (UER-py trains zeros on the prefix, or with
--prefix_lm_loss misses the first token of the answer.) A pair whose prompt leaves no room for an answer is no row; how
many there are is told.
"""

from __future__ import annotations

import numpy as np

from uer_ds.data.batch import Batch
from uer_ds.data.dataset import Dataset
from uer_ds.data.samples import Objective
from uer_ds.data.tokens import TokenTable
from uer_ds.data.windows import PieceIndex
from uer_ds.objective_specs import OBJECTIVE_SPECS
from uer_ds.objectives.base import Ints, RowBuilder, labels_where, pair_runs, tensor
from uer_ds.objectives.options import RowOptions


class PrefixLanguageModel(Objective):
    """[CLS] source [SEP] target [SEP]; labels "lm" [B, S]. The prefix (segment 1) is the source with its brackets."""

    spec = OBJECTIVE_SPECS["prefixlm"]
    closes_prompt = True

    def __init__(self, dataset: Dataset, options: RowOptions):
        self.dataset = dataset
        self._table, self._seq_length = TokenTable(dataset), options.seq_length
        self._pad, self._cls, self._sep = options.special_ids(self.spec)
        self._index = PieceIndex(self._table.documents, self._count_rows)
        self.notes = self._left_out()

    def __len__(self) -> int:
        return len(self._index)

    def batch(self, epochs: Ints, numbers: Ints) -> Batch:
        """[B, S] rows; labels "lm" [B, S] hold the id that follows, where it belongs to the answer."""
        rows = self._rows(self._index.locate(numbers)[0])  # [B, S + 1]
        answer = rows.segments[:, 1:] == 2
        ids, segments = rows.ids[:, :-1], self._segments(rows.segments)
        labels = labels_where(answer, rows.ids[:, 1:])
        return Batch(ids=tensor(ids), segments=tensor(segments), labels={"lm": labels})

    def _count_rows(self, documents: Ints) -> Ints:
        """1 for a pair with room for the first token of its answer, 0 for another."""
        real = documents[..., :-1] < documents[..., 1:]
        prompts = self._table.first_item_lengths(documents[..., :-1] - ~real) + (2 if self.closes_prompt else 1)
        return (real & (prompts <= self._seq_length)).astype(np.int64)

    def _left_out(self) -> tuple[str, ...]:
        pairs, rows = self._table.documents, len(self._index)
        if rows == pairs:
            return ()
        return (
            f"{pairs - rows:,} of {pairs:,} pairs of {self.dataset.folder} are left out: their prompts fill rows of"
            f" {self._seq_length} tokens (--seq_length)",
        )

    def _rows(self, documents: Ints) -> RowBuilder:
        a_starts, a_counts, b_starts, b_counts = pair_runs(self._table, documents)
        rows = RowBuilder(self._table, len(documents), self._seq_length + 1, self._pad)
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
