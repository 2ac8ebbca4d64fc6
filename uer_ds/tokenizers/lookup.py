"""The tokenizers that only look things up: `char` (one token a character) and `space` (between single spaces).

Both strip the text first and know no lower casing. What the vocabulary lacks is unknown: with the Google Chinese
vocabulary Latin capitals and inner spaces for `char`, the empty token between two adjacent spaces for `space`.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from uer_ds.tokenizers.base import Ids, Offsets, Tokenizer, offsets_of
from uer_ds.tokenizers.sources import Sources
from uer_ds.tokenizers.special import SpecialTokens
from uer_ds.tokenizers.vocabulary import Vocabulary, vocabulary_text


@dataclass(frozen=True)
class LookupTable:
    """What tokens are looked up in.

    Attributes:
        vocabulary: tokens by id.
        unknown: id of a token that it lacks; None: whatever the special token for it is.
        files: option -> content of the file it came from.
    """

    vocabulary: Vocabulary
    unknown: int | None
    files: dict[str, bytes]


def read_table(sources: Sources) -> LookupTable:
    """A vocabulary file, or the pieces of a sentencepiece model."""
    if sources.spm_model_path is None:
        vocabulary = sources.file_vocabulary()
        return LookupTable(vocabulary, None, {"vocab_path": vocabulary_text(vocabulary.tokens).encode()})
    from uer_ds.tokenizers.spm import read_model

    model = read_model(sources.spm_model_path)
    return LookupTable(model.vocabulary, model.unknown, {"spm_model_path": model.content})


def load_char(sources: Sources) -> Tokenizer:
    """One token a character."""
    table = read_table(sources)
    return CharTokenizer("char", table, sources.special_tokens(table.vocabulary))


def load_space(sources: Sources) -> Tokenizer:
    """Tokens between single spaces."""
    table = read_table(sources)
    return SpaceTokenizer("space", table, sources.special_tokens(table.vocabulary))


class LookupTokenizer(Tokenizer):
    """What the two have in common."""

    def __init__(self, kind: str, table: LookupTable, special_tokens: SpecialTokens):
        super().__init__(kind, table.vocabulary, special_tokens, table.files)
        unknown = table.unknown
        if unknown is None:
            self.require("unk")
            unknown = self.special.unk
        assert unknown is not None
        self.unknown = unknown


class CharTokenizer(LookupTokenizer):
    """One token for each character of the stripped text."""

    def encode_batch(self, texts: Sequence[str]) -> tuple[Ids, Offsets]:
        stripped = [text.strip() for text in texts]
        codes = "".join(stripped).encode("utf-32-le", "surrogatepass")
        return self._ids_of_codes[np.frombuffer(codes, dtype=np.uint32)], offsets_of(map(len, stripped))

    def decode(self, ids: Iterable[int]) -> str:
        return "".join(self.tokens[index] for index in self.check_ids(ids))

    @functools.cached_property
    def _ids_of_codes(self) -> NDArray[np.int32]:
        ids = np.full(sys.maxunicode + 1, self.unknown, dtype=np.int32)
        for token, index in self.vocabulary.ids.items():
            if len(token) == 1:
                ids[ord(token)] = index
        return ids


class SpaceTokenizer(LookupTokenizer):
    """The fields of the stripped text between single spaces; an empty text is one empty token."""

    def encode_batch(self, texts: Sequence[str]) -> tuple[Ids, Offsets]:
        rows = [text.strip().split(" ") for text in texts]
        ids = [self.vocabulary.ids.get(token, self.unknown) for row in rows for token in row]
        return np.array(ids, dtype=np.int32), offsets_of(map(len, rows))

    def decode(self, ids: Iterable[int]) -> str:
        return " ".join(self.tokens[index] for index in self.check_ids(ids))
