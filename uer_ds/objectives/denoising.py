"""`bart`: restore a chunk of sentences from a shuffled and masked copy. One chunk a row, padded.

Source: [CLS] the sentences in random order [SEP], masked like `mlm`, then each run of [MASK] shrunk to one. Target: the
sentences in order. A chunk is cut to S - 2 tokens.
"""

from __future__ import annotations

import numpy as np

from uer_ds.data.batch import Batch
from uer_ds.data.chunks import SentenceChunks
from uer_ds.data.dataset import Dataset
from uer_ds.data.random import Draws
from uer_ds.data.samples import Objective
from uer_ds.data.tokens import TokenTable
from uer_ds.objective_specs import OBJECTIVE_SPECS
from uer_ds.objectives.base import Flags, Ints, RowBuilder, make_masker, shifted, tensor
from uer_ds.objectives.options import RowOptions, require_length


class Denoising(Objective):
    """BART's objective; the decoder reads and predicts S - 1 tokens; labels "lm" [B, S - 1]."""

    spec = OBJECTIVE_SPECS["bart"]

    def __init__(self, dataset: Dataset, options: RowOptions):
        require_length("--seq_length", options.seq_length, 3, self.spec.name)
        self.dataset = dataset
        self._table, self._seq_length = TokenTable(dataset), options.seq_length
        self._chunks = SentenceChunks(self._table, options.seq_length - 2)
        self._masker = make_masker(self._table, options, self.spec)
        self._with_words = options.whole_word_masking
        self._pad, self._cls, self._sep, self._mask = options.special_ids(self.spec)
        self._order = Draws(options.seed, "bart/order")

    def __len__(self) -> int:
        return len(self._chunks)

    def batch(self, epochs: Ints, numbers: Ints) -> Batch:
        """[B, S] source rows, a decoder of [B, S - 1], labels "lm" [B, S - 1]."""
        _, chunks = self._chunks.locate(numbers)
        chunks = [np.minimum(bounds, bounds[0] + self._seq_length - 2) for bounds in chunks]
        keys = self._order.words(epochs, numbers, max(len(bounds) for bounds in chunks))
        orders = [np.argsort(key[: len(bounds) - 1], kind="stable") for key, bounds in zip(keys, chunks, strict=True)]
        source = self._rows(chunks, orders)
        target = self._rows(chunks, [np.arange(len(bounds) - 1) for bounds in chunks])
        ids, chosen = self._masker.mask(source.ids, source.segments, epochs, numbers, source.word_starts)
        ids, segments = self._shrunk(ids, source.segments, chosen & (ids == self._mask))
        decoder, labels = shifted(target, self._pad)
        return Batch(ids=tensor(ids), segments=tensor(segments), labels={"lm": labels}, decoder=decoder)

    def _rows(self, chunks: list[Ints], orders: list[Ints]) -> RowBuilder:
        """[CLS] the sentences of each chunk in the given order [SEP]."""
        rows = RowBuilder(self._table, len(chunks), self._seq_length, self._pad, self._with_words)
        rows.add_token(self._cls, 1)
        for k in range(max(len(order) for order in orders)):
            runs = [(b[o[k]], b[o[k] + 1]) if k < len(o) else (0, 0) for b, o in zip(chunks, orders, strict=True)]
            starts, ends = np.array(runs, dtype=np.int64).T
            rows.add_run(starts, ends - starts, 1)
        rows.add_token(self._sep, 1)
        return rows

    def _shrunk(self, ids: Ints, segments: Ints, masked: Flags) -> tuple[Ints, Ints]:
        """Rows [B, S] in which each run of masked positions is one token; ids and segments."""
        kept = segments > 0
        kept[:, 1:] &= ~(masked[:, 1:] & masked[:, :-1])
        real = np.arange(ids.shape[1]) < kept.sum(axis=1)[:, None]
        result = np.full_like(ids, self._pad)
        result[real] = ids[kept]
        return result, real.astype(np.int64)
