"""The rules of BERT's tokenizer as UER-py applies them, written for reading: slow, and with Python strings only.

The package's compiled tokenizer is compared with this on any text. Also what several tests of tokenizers need.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from pathlib import Path

from uer_ds.tokenizers.characters import IDEOGRAPHS
from uer_ds.tokenizers.vocabulary import write_vocabulary

LONGEST_WORD = 200


def clean(text: str) -> str:
    kept = []
    for character in text:
        category = unicodedata.category(character)
        if character in "\t\n\r" or category == "Zs":
            kept.append(" ")
        elif character not in "\0\ufffd" and category not in ("Cc", "Cf"):
            kept.append(character)
    return "".join(kept)


def set_ideographs_apart(text: str) -> str:
    return "".join(
        f" {character} " if any(first <= ord(character) <= last for first, last in IDEOGRAPHS) else character
        for character in text
    )


def split_at_punctuation(word: str) -> list[str]:
    parts: list[list[str]] = [[]]
    for character in word:
        code = ord(character)
        ascii_sign = 33 <= code <= 47 or 58 <= code <= 64 or 91 <= code <= 96 or 123 <= code <= 126
        if ascii_sign or unicodedata.category(character).startswith("P"):
            parts += [[character], []]
        else:
            parts[-1].append(character)
    return ["".join(part) for part in parts if part]


def words_of(text: str, lower_case: bool) -> list[str]:
    """The basic step."""
    words = []
    for word in set_ideographs_apart(clean(text)).split():
        if lower_case:
            decomposed = unicodedata.normalize("NFD", word.lower())
            word = "".join(character for character in decomposed if unicodedata.category(character) != "Mn")
        words += split_at_punctuation(word)
    return " ".join(words).split()


def pieces_of(word: str, vocabulary: set[str]) -> list[str]:
    """Longest match first; a word that cannot be spelt, or is too long, is one unknown token."""
    if len(word) > LONGEST_WORD:
        return ["[UNK]"]
    pieces: list[str] = []
    begin = 0
    while begin < len(word):
        prefix = "##" if begin else ""
        ends = (end for end in range(len(word), begin, -1) if prefix + word[begin:end] in vocabulary)
        end = next(ends, None)
        if end is None:
            return ["[UNK]"]
        pieces.append(prefix + word[begin:end])
        begin = end
    return pieces


def tokenize(text: str, vocabulary: set[str], lower_case: bool) -> list[str]:
    return [piece for word in words_of(text, lower_case) for piece in pieces_of(word, vocabulary)]


def vocabulary_file(folder: Path, tokens: Iterable[str]) -> Path:
    path = folder / "vocab.txt"
    write_vocabulary(tokens, path)
    return path
