"""`mlm`: predict masked tokens of full rows (or of one document a row), masked anew in every epoch."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uer_ds.data.batch import Batch
from uer_ds.data.masking import Masker, MaskingOptions
from uer_ds.data.windows import TokenStream, open_rows
from uer_ds.objectives.base import Ints, labels_where, require_ids, row_batch
from uer_ds.tokenizers.special import SpecialIds


class MaskedLanguageModel:
    """BERT's masked language model without a sentence task."""

    name = "mlm"
    targets = ("mlm",)
    layouts = ("documents", "sentences")
    needs = "at least one document"

    def __init__(
        self,
        dataset: Any,
        vocab_size: int,
        special: SpecialIds,
        seq_length: int = 128,
        seed: int = 7,
        packed: bool = True,
        whole_word: bool = False,
        span: bool = False,
        span_geo_prob: float = 0.2,
        span_max_length: int = 10,
        dup_factor: int = 0,
        continuation: NDArray[np.bool_] | None = None,
    ):
        self.dataset = dataset
        self._packed = packed
        cls, sep, pad, mask = require_ids(special, self.name, "cls", "sep", "pad", "mask")
        options = MaskingOptions(whole_word, span, span_geo_prob, span_max_length, dup_factor)
        self._masker = Masker(vocab_size, mask, (cls, sep, pad), seed, options, continuation)
        stream = TokenStream(dataset, cls, sep, pad)
        self._rows = open_rows(stream, seq_length, packed)

    def __len__(self) -> int:
        return len(self._rows)

    def batch(self, epochs: Ints, numbers: Ints) -> Batch:
        """[B, S] rows; labels "mlm" [B, S] hold the true ids of the masked positions."""
        rows = self._rows.read(numbers)
        chosen, starts = self._masker.choose(rows.ids, rows.segments, epochs, numbers)
        masked = dataclasses.replace(rows, ids=self._masker.replace(rows.ids, chosen, starts, epochs, numbers))
        return row_batch(masked, self._packed, {"mlm": labels_where(chosen, rows.ids)})
