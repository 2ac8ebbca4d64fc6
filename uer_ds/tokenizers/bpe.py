"""GPT-2's byte-level byte-pair encoding; the merging is done by the `tokenizers` library.

The library gets a vocabulary of its own (the 256 byte symbols and what each merge makes), whose ids are then mapped to
the vocabulary file's. So merges that lead to tokens outside the file are unknown tokens, as in UER-py, instead of an
error.

Which characters count as letters or digits follows the library's Unicode version (in UER-py: that of the `regex`
module).
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uer_ds.errors import UserError
from uer_ds.tokenizers.base import Ids, Offsets, Tokenizer, encodable, offsets_of
from uer_ds.tokenizers.sources import Sources
from uer_ds.tokenizers.special import SpecialTokens
from uer_ds.tokenizers.spelling import UNKNOWN, Spelling, fold_bytes
from uer_ds.tokenizers.vocabulary import Vocabulary, read_text, vocabulary_text

VERSION_LINE = "#version"
NOT_IN_VOCABULARY = -1

Merge = tuple[str, str]


def load(sources: Sources) -> Tokenizer:
    """A vocabulary file and a file of merges."""
    vocabulary = sources.file_vocabulary()
    merges = read_merges(sources.path("merges_path"))
    return BpeTokenizer(vocabulary, merges, sources.special_tokens(vocabulary))


def read_merges(path: str | Path) -> list[Merge]:
    """The merges in order, one a line as two fields, after an optional `#version` line."""
    merges: list[Merge] = []
    for number, line in enumerate(read_text(path, "merges").split("\n"), start=1):
        if (number == 1 and line.startswith(VERSION_LINE)) or not line.strip("\r"):
            continue
        fields = line.strip("\r").split(" ")
        if len(fields) != 2:
            raise UserError(
                f"{path}: line {number} has {len(fields)} fields, expected the two symbols of a merge; "
                "give the merges file that belongs to the vocabulary."
            )
        merges.append((fields[0], fields[1]))
    return merges


@functools.cache
def byte_symbols() -> list[str]:
    """Byte -> its printable symbol: itself where Latin-1 can print it, else the next code point from 256 on."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = itertools.count(256)
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]


class BpeTokenizer(Tokenizer):
    """Byte-pair encoding after GPT-2's split into words (contractions, letters, digits, other signs), case kept."""

    def __init__(self, vocabulary: Vocabulary, merges: Sequence[Merge], special_tokens: SpecialTokens):
        files = {
            "vocab_path": vocabulary_text(vocabulary.tokens).encode(),
            "merges_path": vocabulary_text([VERSION_LINE, *(f"{a} {b}" for a, b in merges)]).encode(),
        }
        super().__init__("bpe", vocabulary, special_tokens, files)
        self.merges = list(merges)

    def encode_batch(self, texts: Sequence[str]) -> tuple[Ids, Offsets]:
        encodings = self._library.encode_batch_fast([encodable(text) for text in texts])
        rows = [encoding.ids for encoding in encodings]
        offsets = offsets_of(map(len, rows))
        symbols = np.fromiter(itertools.chain.from_iterable(rows), dtype=np.int32, count=int(offsets[-1]))
        ids = self._own_ids[symbols]
        if (ids == NOT_IN_VOCABULARY).any():
            lacking = self._symbols[symbols[ids == NOT_IN_VOCABULARY][0]]
            raise UserError(
                f"{self.vocabulary.source}: has neither {lacking!r}, which the merges make, nor the unknown token "
                f"{self.special_tokens.unk}; give the vocabulary that belongs to the merges."
            )
        return ids, offsets

    def decode(self, ids: Iterable[int]) -> str:
        special = set(self.special_tokens.names().values())
        values = {symbol: byte for byte, symbol in enumerate(byte_symbols())}

        def content(token: str) -> Iterator[bytes]:
            for symbol in token:
                is_byte = symbol in values and token not in special
                yield bytes([values[symbol]]) if is_byte else symbol.encode()

        tokens = (self.tokens[index] for index in self.check_ids(ids))
        return b"".join(part for token in tokens for part in content(token)).decode("utf-8", "replace")

    def spelling(self) -> Spelling:
        """In bytes: a token may be a part of a character."""
        printed = {ord(symbol): byte for byte, symbol in enumerate(byte_symbols())}
        blank = str.maketrans("", "", " \t\r\n")
        special = set(self.special_tokens.names().values())
        tokens = [UNKNOWN if t in special else t.translate(printed).translate(blank) for t in self.tokens]
        return Spelling(tokens, fold_bytes)

    @functools.cached_property
    def _symbols(self) -> list[str]:
        """The library's vocabulary."""
        made = itertools.chain.from_iterable((a, b, a + b) for a, b in self.merges)
        return list(dict.fromkeys(itertools.chain(byte_symbols(), made)))

    @functools.cached_property
    def _own_ids(self) -> NDArray[np.int32]:
        unknown = NOT_IN_VOCABULARY if self.special.unk is None else self.special.unk
        return np.array([self.vocabulary.ids.get(symbol, unknown) for symbol in self._symbols], dtype=np.int32)

    @functools.cached_property
    def _library(self) -> Any:
        import tokenizers

        ids = {symbol: index for index, symbol in enumerate(self._symbols)}
        library = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=ids, merges=self.merges))
        library.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
        return library
