"""`Spelling`: what a tokenizer's tokens stand for in a text, so that tokens and text can be laid beside each other.

A tokenizer changes text on the way (case, accents, compatibility forms, spaces). Text and tokens are therefore both
folded to what is left of all that; where a tokenizer keeps a difference, folding both sides loses nothing that matters
to the question which token stands where.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

CONTINUATION = "##"
WORD_MARK = "\u2581"
UNKNOWN = "\uffff"
"""Stands for a token that may be any text; a noncharacter, which no text has."""


@dataclass(frozen=True)
class Spelling:
    """Attributes:
    tokens: id -> what the token stands for, in folded characters; `UNKNOWN` where that can be anything.
    fold: text -> folded characters. Of a text cut into parts it is that of the parts.
    """

    tokens: list[str]
    fold: Callable[[str], str]


class _Folds(dict[int, str]):
    """Code point -> what is left of it; filled as characters come."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        simple = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", character).casefold())
        kept = [c for c in simple if unicodedata.category(c)[0] not in "MCZ" and c != WORD_MARK]
        self[code] = "".join(kept)
        return self[code]


_FOLDS = _Folds()


def fold(text: str) -> str:
    """Without case, marks, control and format characters, spaces and word marks; compatibility forms taken apart."""
    return text.translate(_FOLDS)


def fold_bytes(text: str) -> str:
    """Its UTF-8, one character (0 to 255) a byte, without spaces: for tokens that are bytes."""
    return text.encode("utf-8", "surrogatepass").translate(None, b" \t\r\n").decode("latin-1")
