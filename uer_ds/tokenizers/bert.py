"""The BERT tokenizer: basic step, then WordPiece. Ours, compiled, with UER-py's ids.

Costs: the tables are built on the first call of `encode` (half a second a process), and the compiled code is made on
the first call on a machine (some seconds, announced). Vocabulary, special ids and `decode` need neither.

How it differs from `transformers` and `tokenizers`: words may have 200 characters, special tokens spelt in text are
text, private and unassigned characters stay, a capital sigma at the end of a word becomes the final one.
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from uer_ds.tokenizers.base import Ids, Offsets, Tokenizer, encodable
from uer_ds.tokenizers.sources import Sources
from uer_ds.tokenizers.special import SpecialTokens
from uer_ds.tokenizers.spelling import CONTINUATION, UNKNOWN, Spelling, fold
from uer_ds.tokenizers.vocabulary import Vocabulary, vocabulary_text

if TYPE_CHECKING:
    from uer_ds.tokenizers.characters import CharacterTable
    from uer_ds.tokenizers.trie import WordPieceTrie

NEWLINE = 10


def load(sources: Sources) -> Tokenizer:
    """WordPiece over a vocabulary file, or the pieces of a sentencepiece model when one is given."""
    if sources.spm_model_path is not None:
        from uer_ds.tokenizers.spm import SentencePieceTokenizer, read_model

        model = read_model(sources.spm_model_path)
        return SentencePieceTokenizer("bert", model, model.vocabulary, sources.special_tokens(model.vocabulary))
    vocabulary = sources.file_vocabulary()
    return WordPieceTokenizer(vocabulary, sources.special_tokens(vocabulary), sources.do_lower_case)


class WordPieceTokenizer(Tokenizer):
    """WordPiece over a vocabulary file; see the module for costs and differences.

    `do_lower_case` also strips accents (NFD without combining marks), so Hangul comes apart, as in UER-py.
    """

    def __init__(self, vocabulary: Vocabulary, special_tokens: SpecialTokens, do_lower_case: bool = True):
        files = {"vocab_path": vocabulary_text(vocabulary.tokens).encode()}
        super().__init__("bert", vocabulary, special_tokens, files, {"do_lower_case": do_lower_case})
        self.do_lower_case = do_lower_case
        self.require("unk")

    def encode_batch(self, texts: Sequence[str]) -> tuple[Ids, Offsets]:
        lines = "".join([text.replace("\n", " ") + "\n" for text in texts])
        return self.encode_lines(np.frombuffer(encodable(lines).encode(), dtype=np.uint8))

    def encode_lines(self, text: NDArray[np.uint8]) -> tuple[Ids, Offsets]:
        lines = np.count_nonzero(text == NEWLINE) + (len(text) > 0 and text[-1] != NEWLINE)
        return self._trie.match(self._characters.split(text), int(lines))

    def decode(self, ids: Iterable[int]) -> str:
        return join_pieces(self.tokens[index] for index in self.check_ids(ids))

    def spelling(self) -> Spelling:
        pieces = [fold(token.removeprefix(CONTINUATION)) for token in self.tokens]
        assert self.special.unk is not None
        pieces[self.special.unk] = UNKNOWN
        return Spelling(pieces, fold)

    @functools.cached_property
    def _characters(self) -> CharacterTable:
        from uer_ds.tokenizers.characters import character_table

        return character_table(self.do_lower_case)

    @functools.cached_property
    def _trie(self) -> WordPieceTrie:
        from uer_ds.tokenizers.trie import build_trie

        assert self.special.unk is not None
        return build_trie(self.vocabulary.ids, self.special.unk)

    def __getstate__(self) -> dict[str, object]:
        built_where_needed = ("_characters", "_trie")
        return {name: value for name, value in self.__dict__.items() if name not in built_where_needed}


def join_pieces(pieces: Iterable[str]) -> str:
    """Readable text: `##` pieces joined to their word, a space only where two words of letters meet."""
    parts: list[str] = []
    last = ""
    for piece in pieces:
        if piece.startswith("##") and len(piece) > 2:
            piece = piece[2:]
        elif last and piece and _spells_words(last[-1]) and _spells_words(piece[0]):
            parts.append(" ")
        parts.append(piece)
        last = piece or last
    return "".join(parts)


def _spells_words(character: str) -> bool:
    """Letters and digits, but not the wide ones (ideographs, kana, full-width forms), which stand without spaces."""
    return character.isalnum() and unicodedata.east_asian_width(character) not in "WF"
