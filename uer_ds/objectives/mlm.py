"""`mlm`: predict masked tokens of full rows (or of one document a row), masked anew in every epoch."""

from __future__ import annotations

import dataclasses

from uer_ds.data.batch import Batch
from uer_ds.data.dataset import Dataset
from uer_ds.data.masking import DEFAULT_MASKING, MaskingOptions
from uer_ds.data.tokens import TokenTable
from uer_ds.data.windows import TokenStream, open_rows
from uer_ds.objectives.base import Ints, labels_where, make_masker, require_ids, row_batch
from uer_ds.tokenizers.special import SpecialIds


class MaskedLanguageModel:
    """BERT's masked language model without a sentence task."""

    name = "mlm"
    targets = ("mlm",)
    layouts = ("documents", "sentences")
    needs = "at least one document"

    def __init__(
        self,
        dataset: Dataset,
        vocab_size: int,
        special: SpecialIds,
        seq_length: int = 128,
        seed: int = 7,
        packed: bool = True,
        masking: MaskingOptions = DEFAULT_MASKING,
    ):
        self.dataset = dataset
        self._packed = packed
        table = TokenTable(dataset)
        self._masker = make_masker(table, vocab_size, special, seed, masking, self.name)
        cls, sep, pad = require_ids(special, self.name, "cls", "sep", "pad")
        stream = TokenStream(table, cls, sep, pad, with_words=masking.whole_word)
        self._rows = open_rows(stream, seq_length, packed)

    def __len__(self) -> int:
        return len(self._rows)

    def batch(self, epochs: Ints, numbers: Ints) -> Batch:
        """[B, S] rows; labels "mlm" [B, S] hold the true ids of the masked positions."""
        rows = self._rows.read(numbers)
        ids, chosen = self._masker.mask(rows.ids, rows.segments, epochs, numbers, rows.word_starts)
        labels = {"mlm": labels_where(chosen, rows.ids)}
        return row_batch(dataclasses.replace(rows, ids=ids), self._packed, labels)
