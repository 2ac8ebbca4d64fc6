"""A tokenizer for tests of data at rest: one id a character, no vocabulary file, no compiled code."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from uer_ds.tokenizers.base import Ids, Offsets, Tokenizer, offsets_of
from uer_ds.tokenizers.special import SpecialTokens
from uer_ds.tokenizers.spelling import UNKNOWN, Spelling, fold
from uer_ds.tokenizers.vocabulary import Vocabulary

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
ZERO_WIDTH = "\u200b"


class StandIn(Tokenizer):
    """Character c that is neither white space nor a zero-width one -> 5 + ord(c) % (vocab_size - 5)."""

    def __init__(self, vocab_size: int = 30000):
        tokens = [*SPECIAL, *(f"t{i}" for i in range(vocab_size - 5))]
        files = {"vocab_path": "\n".join(tokens).encode()}
        super().__init__("stand-in", Vocabulary(tokens), SpecialTokens(), files)

    def encode_batch(self, texts: Sequence[str]) -> tuple[Ids, Offsets]:
        rows = [[self._id(c) for c in text if not c.isspace() and c != ZERO_WIDTH] for text in texts]
        return np.array([i for row in rows for i in row], np.int32), offsets_of(map(len, rows))

    def decode(self, ids: Iterable[int]) -> str:
        return " ".join(self.tokens[i] for i in ids)

    def spelling(self) -> Spelling:
        characters = (fold(chr(i)) if not 0xD800 <= i < 0xE000 else UNKNOWN for i in range(self.vocab_size - 5))
        return Spelling([*[UNKNOWN] * 5, *characters], fold)

    def _id(self, character: str) -> int:
        return 5 + ord(character) % (self.vocab_size - 5)
