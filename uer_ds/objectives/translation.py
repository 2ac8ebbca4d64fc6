"""`mt`: an encoder reads a source text, a decoder predicts the target text. One pair a row, padded.

Source [CLS] a [SEP] cut to S; target [CLS] b [SEP] cut to T + 1, of which the decoder reads all but the last token and
predicts all but the first. Source and target may have vocabularies of their own.
"""

from __future__ import annotations

from uer_ds.data.batch import Batch
from uer_ds.data.dataset import Dataset
from uer_ds.data.samples import Objective
from uer_ds.data.tokens import TokenTable
from uer_ds.objective_specs import OBJECTIVE_SPECS
from uer_ds.objectives.base import Ints, RowBuilder, pair_runs, shifted, tensor
from uer_ds.objectives.options import RowOptions, special_ids


class Translation(Objective):
    """Source to target; labels "lm" [B, T]."""

    spec = OBJECTIVE_SPECS["mt"]

    def __init__(self, dataset: Dataset, options: RowOptions):
        self.dataset = dataset
        self._table, self._lengths = TokenTable(dataset), (options.seq_length, options.tgt_seq_length + 1)
        self._source_ids = options.special_ids(self.spec)
        self._target_ids = special_ids(options.target_special or options.special, self.spec)

    def __len__(self) -> int:
        return self._table.documents

    def batch(self, epochs: Ints, numbers: Ints) -> Batch:
        """[B, S] source rows, a decoder of [B, T], labels "lm" [B, T]."""
        runs = pair_runs(self._table, numbers)
        source = self._bracketed(runs[:2], self._lengths[0], self._source_ids)
        target = self._bracketed(runs[2:], self._lengths[1], self._target_ids)
        decoder, labels = shifted(target, self._target_ids[0])
        return Batch(ids=tensor(source.ids), segments=tensor(source.segments), labels={"lm": labels}, decoder=decoder)

    def _bracketed(self, runs: Ints, length: int, brackets: tuple[int, ...]) -> RowBuilder:
        pad, cls, sep = brackets
        rows = RowBuilder(self._table, runs.shape[1], length, pad)
        rows.add_token(cls, 1)
        rows.add_run(runs[0], runs[1], 1)
        rows.add_token(sep, 1)
        return rows
