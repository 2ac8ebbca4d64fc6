"""`gsg`: write the sentences that were taken out of a chunk of text (Pegasus). One chunk a row, padded.

Of the n sentences of a chunk round(0.3 n) are taken out, the first ones (`lead`) or random ones (`random`), but never
the last and none that is too long for a target of T tokens. Source: [CLS] the chunk with one [MASK] for each gap [SEP],
cut to S; target: [CLS] the gap sentences [SEP]; one for which no room is left stays in the source. A chunk without a
gap is no row.
"""

from __future__ import annotations

import numpy as np

from uer_ds.data.batch import Batch
from uer_ds.data.chunks import ChunksWithGap
from uer_ds.data.dataset import Dataset
from uer_ds.data.random import Draws
from uer_ds.data.samples import Objective
from uer_ds.data.tokens import TokenTable
from uer_ds.objective_specs import OBJECTIVE_SPECS
from uer_ds.objectives.base import Flags, Ints, RowBuilder, shifted, tensor
from uer_ds.objectives.options import RowOptions, require_length

GAP_SHARE = 0.3


class GapSentences(Objective):
    """Gap sentence generation; the decoder reads and predicts T - 1 tokens; labels "lm" [B, T - 1]."""

    spec = OBJECTIVE_SPECS["gsg"]

    def __init__(self, dataset: Dataset, options: RowOptions):
        require_length("--seq_length", options.seq_length, 4, self.spec.name)
        require_length("--tgt_seq_length", options.tgt_seq_length, 3, self.spec.name)
        self.dataset = dataset
        self._table = TokenTable(dataset)
        self._seq_length, self._tgt_seq_length = options.seq_length, options.tgt_seq_length
        self._room = options.tgt_seq_length - 2
        self._chunks = ChunksWithGap(self._table, options.seq_length - 2, self._room)
        self._lead = options.sentence_selection_strategy == "lead"
        self._pad, self._cls, self._sep, self._mask = options.special_ids(self.spec)
        if not len(self._chunks):
            self.notes = (f"no chunk has two sentences, the first of at most {self._room} tokens (--tgt_seq_length)",)
        self._draws = Draws(options.seed, "gsg/sentences")

    def __len__(self) -> int:
        return len(self._chunks)

    def batch(self, epochs: Ints, numbers: Ints) -> Batch:
        """[B, S] source rows, a decoder of [B, T - 1], labels "lm" [B, T - 1]."""
        chunks = self._chunks.locate(numbers)
        keys = self._draws.words(epochs, numbers, max(len(bounds) for bounds in chunks))
        gaps = [self._gaps(np.diff(bounds), key) for bounds, key in zip(chunks, keys, strict=True)]
        source = RowBuilder(self._table, len(chunks), self._seq_length, self._pad)
        target = RowBuilder(self._table, len(chunks), self._tgt_seq_length, self._pad)
        for rows in (source, target):
            rows.add_token(self._cls, 1)
        for k in range(max(len(gap) for gap in gaps)):
            runs = [(*b[k : k + 2], g[k]) if k < len(g) else (0, 0, False) for b, g in zip(chunks, gaps, strict=True)]
            starts, ends, is_gap = np.array(runs, dtype=np.int64).T
            target.add_run(starts, np.where(is_gap, ends - starts, 0), 1)
            source.add_run(starts, np.where(is_gap, 0, ends - starts), 1)
            source.add_token(self._mask, 1, is_gap > 0)
        source.add_token(self._sep, 1)
        target.add_token(self._sep, 1)
        decoder, labels = shifted(target, self._pad)
        return Batch(ids=tensor(source.ids), segments=tensor(source.segments), labels={"lm": labels}, decoder=decoder)

    def _gaps(self, lengths: Ints, keys: Ints) -> Flags:
        """Which sentences of a chunk are taken out."""
        gaps = round(GAP_SHARE * len(lengths))  # halves to even, as UER-py
        candidates = np.flatnonzero(lengths[:-1] <= self._room)
        if not self._lead:
            candidates = candidates[np.argsort(keys[candidates], kind="stable")]
        wanted = np.zeros(len(lengths), dtype=bool)
        wanted[candidates[:gaps]] = True
        room = self._room
        for k in np.flatnonzero(wanted):
            wanted[k] = lengths[k] <= room
            room -= lengths[k] if wanted[k] else 0
        return wanted
