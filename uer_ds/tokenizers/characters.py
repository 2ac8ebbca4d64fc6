"""What BERT's basic step does with each code point, as one table for the compiled tokenizer.

UER-py cleans the text, sets ideographs apart, splits at whitespace, and then (lower casing) applies `str.lower` and
NFD to each word and drops combining marks. All of it depends on single code points except two things: the final sigma,
and the canonical order of marks. So `character_table` says per code point what kind it is and what it becomes, and the
kernel in `kernels.py` handles the two exceptions. Properties come from Python's own Unicode data, as in UER-py: a
newer Python knows newer characters.

Building a table takes about half a second and 9 MB; it is done once per process.
"""

from __future__ import annotations

import functools
import sys
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from uer_ds.tokenizers.base import InvalidUtf8
from uer_ds.tokenizers.kernels import (
    BARRIER,
    CASE_IGNORABLE,
    CASED,
    CODE_BITS,
    CODE_MASK,
    DROPPED,
    KIND_MASK,
    MARK,
    SEQUENCE,
    SIGMA,
    SINGLE,
    SPACE,
    split_words,
)

CODE_POINTS = sys.maxunicode + 1
CAPITAL_SIGMA = 0x3A3
LINE_BREAKS_AND_TAB = "\t\n\r"

IDEOGRAPHS = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)
"""First and last code point of the blocks that original BERT sets apart (no kana, no Hangul, nothing newer)."""


@dataclass(frozen=True)
class CharacterTable:
    """What the basic step does with each code point.

    Attributes:
        entries: [CODE_POINTS] uint32, kind and result of every code point.
        sequences: uint32, for each `SEQUENCE` its length and then its entries.
        classes: [CODE_POINTS] uint8, canonical combining class of each `MARK`, else 0.
    """

    entries: NDArray[np.uint32]
    sequences: NDArray[np.uint32]
    classes: NDArray[np.uint8]

    def split(self, text: NDArray[np.uint8]) -> NDArray[np.int32]:
        """The stream of words (see `kernels.py`) of UTF-8 bytes, one `LINE_END` a line. Raises `InvalidUtf8`."""
        stream = np.empty(len(text) + 1, dtype=np.int32)
        length = split_words(np.ascontiguousarray(text), self.entries, self.sequences, self.classes, stream)
        if length < 0:
            raise InvalidUtf8(-1 - length)
        stream.resize(length, refcheck=False)  # gives the rest of the memory back, without a copy
        return stream


@functools.cache
def character_table(lower_case: bool) -> CharacterTable:
    """The table of the basic step, with or without lower casing and accent stripping."""
    categories = _categories()
    entries = np.arange(CODE_POINTS, dtype=np.uint32)
    entries[_punctuation(categories)] |= SINGLE << CODE_BITS
    sequences: list[int] = [0]
    if lower_case:
        assigned = np.flatnonzero(~np.isin(categories, [b"Cn", b"Co", b"Cs"])).tolist()
        _normalise(entries, sequences, assigned)
        _flag_case(entries, assigned)
    for first, last in IDEOGRAPHS:
        entries[first : last + 1] &= ~np.uint32(KIND_MASK << CODE_BITS)
        entries[first : last + 1] |= SINGLE << CODE_BITS
    entries[_whitespace()] = SPACE << CODE_BITS
    entries[_removed(categories)] = DROPPED << CODE_BITS | CASE_IGNORABLE
    return CharacterTable(entries, np.array(sequences, dtype=np.uint32), _mark_classes(entries, sequences))


@functools.cache
def _categories() -> NDArray[np.bytes_]:
    """[CODE_POINTS] two-letter general categories."""
    names = "".join(map(unicodedata.category, map(chr, range(CODE_POINTS))))
    return np.frombuffer(names.encode(), dtype="S2")


def _punctuation(categories: NDArray[np.bytes_]) -> NDArray[np.bool_]:
    """All of ASCII that is neither letter, digit, control nor space, and Unicode's P*."""
    result = categories.view("S1").reshape(-1, 2)[:, 0] == b"P"
    for first, last in ((33, 47), (58, 64), (91, 96), (123, 126)):
        result[first : last + 1] = True
    return result


def _removed(categories: NDArray[np.bytes_]) -> NDArray[np.bool_]:
    """NUL, the replacement character and control and format characters."""
    result = np.isin(categories, [b"Cc", b"Cf"])
    result[[0, 0xFFFD]] = True
    result[[ord(c) for c in LINE_BREAKS_AND_TAB]] = False
    return result


def _whitespace() -> list[int]:
    """Where words end. U+2028 and U+2029 are here because the words are cut by `str.split`."""
    return [code for code in range(CODE_POINTS) if chr(code).isspace()]


def _normalise(entries: NDArray[np.uint32], sequences: list[int], codes: Sequence[int]) -> None:
    """Enter what lower casing, NFD and the removal of marks (Mn) make of each code point."""
    for code in codes:
        decomposed = unicodedata.normalize("NFD", chr(code).lower())
        kept = [c for c in decomposed if unicodedata.category(c) != "Mn"]
        if code == CAPITAL_SIGMA:
            entries[code] = code | SIGMA << CODE_BITS
        elif not kept:
            barrier = any(unicodedata.combining(c) == 0 for c in decomposed)
            entries[code] = (BARRIER if barrier else DROPPED) << CODE_BITS
        elif len(kept) > 1:
            entries[code] = len(sequences) | SEQUENCE << CODE_BITS
            sequences += [len(kept), *map(_plain_entry, kept)]
        elif kept[0] != chr(code) or unicodedata.combining(kept[0]):
            entries[code] = _plain_entry(kept[0])


def _mark_classes(entries: NDArray[np.uint32], sequences: list[int]) -> NDArray[np.uint8]:
    classes = np.zeros(CODE_POINTS, dtype=np.uint8)
    everything = np.concatenate([entries, np.array(sequences, dtype=np.uint32)])
    for entry in everything[everything >> CODE_BITS & KIND_MASK == MARK]:
        code = int(entry) & CODE_MASK
        classes[code] = unicodedata.combining(chr(code))
    return classes


def _plain_entry(character: str) -> int:
    """The entry of a code point that is already normal: word, punctuation or mark."""
    code = ord(character)
    if unicodedata.combining(character):
        return code | MARK << CODE_BITS
    ascii_symbol = code < 128 and character.isprintable() and not character.isalnum() and character != " "
    if ascii_symbol or unicodedata.category(character).startswith("P"):
        return code | SINGLE << CODE_BITS
    return code


def _flag_case(entries: NDArray[np.uint32], codes: Sequence[int]) -> None:
    """Flag cased and case-ignorable code points, which decide whether a sigma is final.

    Python does not offer these two properties, but its `lower` shows them: in "1xΣ" the sigma is final where x is
    cased and not ignorable, in "aΣ" with x in between where x is either.
    """
    probed = [code for code in codes if not chr(code).isspace()]
    cased = _final_sigma_after("1", probed)
    either = _final_sigma_after("a", probed)
    positions = np.array(probed)
    entries[positions[cased]] |= np.uint32(CASED)
    entries[positions[either & ~cased]] |= np.uint32(CASE_IGNORABLE)


def _final_sigma_after(prefix: str, codes: Sequence[int]) -> NDArray[np.bool_]:
    words = " ".join(f"{prefix}{chr(code)}Σ" for code in codes).lower().split(" ")
    return np.array([word.endswith("ς") for word in words])
