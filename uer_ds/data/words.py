"""Where words begin, token by token: the side column `word_start` for whole-word masking.

The text is cut into words once, here, by rjieba (17 MB/s a core; 5 with all that follows) or jieba (1 MB/s). Ids are
never changed: each token is found again in the text, and it begins a word when a word begins at its first character.
So a token that reaches into the next word keeps the rest of that word with it, and a bare word mark or space belongs to
the word behind it. Tokens whose place is not found (a run of unknown words, text that the tokenizer rewrote) are
counted; each of them begins a word unless it is marked as a continuation (`##`).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence

import numpy as np

from uer_ds.errors import UserError
from uer_ds.tokenizers.base import Tokenizer
from uer_ds.tokenizers.spelling import CONTINUATION, UNKNOWN

SEGMENTERS = ("rjieba", "jieba")
LOOK_AHEAD = 256
"""Characters, for each token of unknown text, within which the next known token is looked for."""


class WordFinder:
    """Finds word starts for texts that `tokenizer` has encoded.

    Attributes:
        unplaced: tokens so far whose place in the text was not found.
    """

    def __init__(self, tokenizer: Tokenizer, cut: Callable[[str], Sequence[str]] | None = None):
        self.unplaced = 0
        self._cut = cut or load_segmenter()
        spelling = tokenizer.spelling()
        self._pieces, self._fold = spelling.tokens, spelling.fold
        self._lengths = np.array([len(piece) for piece in self._pieces])  # [vocab]
        self._begins = np.array([not token.startswith(CONTINUATION) for token in tokenizer.tokens])  # [vocab]

    def starts(self, texts: Sequence[str], ids: np.ndarray, offsets: np.ndarray) -> np.ndarray:
        """[tokens] bool: the token begins a word. Text i has the tokens ids[offsets[i] : offsets[i + 1]]."""
        result = self._begins[ids]
        for text, begin, end in zip(texts, offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
            own = ids[begin:end]
            places = self._places(self._fold(text), own)
            word_begins = self._word_begins(text)
            if word_begins is None:
                places[:] = -1
            found = places >= 0
            self.unplaced += len(own) - int(found.sum())
            if word_begins is not None:
                after_mark = np.append(False, (self._lengths[own[:-1]] == 0) & (np.diff(places) == 0))
                result[begin:end][found] = (word_begins[places] & ~after_mark)[found]
        return result

    def _word_begins(self, text: str) -> np.ndarray | None:
        """[characters of the folded text + 1] bool; None when the words are not the text."""
        words = self._cut(text)
        if sum(map(len, words)) != len(text):
            return None
        lengths = [len(self._fold(word)) for word in words]
        begins = np.zeros(sum(lengths) + 1, bool)
        begins[np.cumsum([0, *lengths])] = True
        return begins

    def _places(self, text: str, ids: np.ndarray) -> np.ndarray:
        """[tokens] where each token begins in the folded text; -1: not found."""
        pieces = [self._pieces[i] for i in ids.tolist()]
        if "".join(pieces) == text:
            return np.concatenate([[0], np.cumsum(self._lengths[ids])])[:-1]
        return np.array(_search(text, pieces), dtype=np.int64)


def _search(text: str, pieces: Sequence[str]) -> list[int]:
    """As `_places`, one piece after the other; between known pieces there may be unknown ones."""
    places: list[int] = []
    position = lost = 0  # in the text; pieces since the last one that was found
    for piece in pieces:
        place = -1 if piece == UNKNOWN else text.find(piece, position, position + (lost + 1) * LOOK_AHEAD)
        if place < 0:
            places.append(-1 if lost else position)  # the first unknown piece stands where the last known one ended
            lost += 1
            continue
        if lost and place - position == lost:  # one character each
            places[-lost:] = range(position, place)
        places.append(place)
        position, lost = place + len(piece), 0
    return places


def load_segmenter() -> Callable[[str], Sequence[str]]:
    """The word cutter that is installed, the fast one first."""
    for name in SEGMENTERS:
        try:
            module = importlib.import_module(name)
        except ImportError:
            continue
        cut: Callable[[str], Sequence[str]] = getattr(module, "lcut", module.cut)
        return cut
    raise UserError(
        "--whole_word_masking needs a word segmenter and neither rjieba nor jieba is installed; install one with"
        " `pip install rjieba`."
    )
