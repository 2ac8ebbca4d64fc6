"""The compiled basic step: UTF-8 bytes -> the normalised words of BERT's tokenizer.

The words come as a stream of int32, one for each code point; `START` marks the first code point of a word and
`LINE_END` stands at the end of each line. A stream is never longer than its text in bytes plus one, since no character
becomes more code points than it has bytes. What happens to a code point is in the table of `characters.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from uer_ds.tokenizers.base import InvalidUtf8
from uer_ds.tokenizers.characters import (
    BARRIER,
    CASE_IGNORABLE,
    CASED,
    CODE_BITS,
    CODE_MASK,
    KIND_MASK,
    MARK,
    SEQUENCE,
    SIGMA,
    SINGLE,
    SPACE,
    WORD,
    CharacterTable,
)
from uer_ds.tokenizers.jit import compiled

START = 1 << 22
LINE_END = START | CODE_MASK
SMALL_SIGMA = 0x3C3
FINAL_SIGMA = 0x3C2
NEWLINE = 10

BYTES = "Array(uint8, 1, 'C', readonly=True)"
TABLE = "Array(uint32, 1, 'C', readonly=True)"
STREAM = "Array(int32, 1, 'C')"


def word_stream(text: NDArray[np.uint8], table: CharacterTable) -> NDArray[np.int32]:
    """The stream of words of UTF-8 bytes, one `LINE_END` a line. Raises `InvalidUtf8`."""
    stream = np.empty(len(text) + 1, dtype=np.int32)
    length = split_words(np.ascontiguousarray(text), table.entries, table.sequences, table.classes, stream)
    if length < 0:
        raise InvalidUtf8(-1 - length)
    return stream[:length]


@compiled(f"UniTuple(int64, 2)({BYTES}, int64)")
def decode_utf8(text: Any, i: int) -> tuple[int, int]:
    """The code point at byte `i` and its width; code point -1 where there is no valid one."""
    lead = np.int64(text[i])
    if lead < 0x80:
        return lead, 1
    left = len(text) - i
    if 0xE0 <= lead < 0xF0 and left > 2:
        b, c = np.int64(text[i + 1]), np.int64(text[i + 2])
        code = (lead & 15) << 12 | (b & 63) << 6 | (c & 63)
        if b & 0xC0 == 0x80 and c & 0xC0 == 0x80 and code >= 0x800 and not 0xD800 <= code < 0xE000:
            return code, 3
    elif 0xC2 <= lead < 0xE0 and left > 1:
        b = np.int64(text[i + 1])
        if b & 0xC0 == 0x80:
            return (lead & 31) << 6 | (b & 63), 2
    elif 0xF0 <= lead < 0xF5 and left > 3:
        b, c, d = np.int64(text[i + 1]), np.int64(text[i + 2]), np.int64(text[i + 3])
        code = (lead & 7) << 18 | (b & 63) << 12 | (c & 63) << 6 | (d & 63)
        if b & 0xC0 == 0x80 and c & 0xC0 == 0x80 and d & 0xC0 == 0x80 and 0x10000 <= code < 0x110000:
            return code, 4
    return -1, 1


@compiled(f"boolean({BYTES}, int64, {TABLE})")
def sigma_is_final(text: Any, i: int, entries: Any) -> bool:
    """Whether the capital sigma at byte `i` ends its word (Unicode's Final_Sigma): after a cased letter, not before
    one.

    Only case-ignorable characters may stand between. Whitespace and ideographs, which end a word, are neither.
    """
    j = i
    flags = CASE_IGNORABLE
    while j > 0 and flags & CASE_IGNORABLE:
        j -= 1
        while text[j] & 0xC0 == 0x80:
            j -= 1
        flags = np.int64(entries[decode_utf8(text, j)[0]])
    if not flags & CASED:
        return False
    j = i + 2
    while j < len(text):
        code, width = decode_utf8(text, j)
        flags = np.int64(entries[code]) if code >= 0 else 0
        if not flags & CASE_IGNORABLE:
            return not flags & CASED
        j += width
    return True


@compiled(f"int64(int64, int64, {STREAM}, int64, int64, Array(uint8, 1, 'C', readonly=True))")
def put(entry: int, start: int, stream: Any, k: int, barrier: int, classes: Any) -> int:
    """Write one normal code point at `k` of the stream; returns `start` for the next one.

    A mark moves before the marks of a higher class that precede it in its word, as NFD's canonical order wants.
    """
    kind = entry >> CODE_BITS & KIND_MASK
    if kind == SINGLE:
        stream[k] = START | entry & CODE_MASK
        return START
    stream[k] = start | entry & CODE_MASK
    while kind == MARK and k > barrier and not stream[k] & START:
        before, here = stream[k - 1] & CODE_MASK, stream[k] & CODE_MASK
        if classes[before] <= classes[here]:
            break
        stream[k - 1], stream[k] = stream[k - 1] - before + here, before
        k -= 1
    return 0


@compiled(f"int64({BYTES}, {TABLE}, {TABLE}, Array(uint8, 1, 'C', readonly=True), {STREAM})")
def split_words(text: Any, entries: Any, sequences: Any, classes: Any, stream: Any) -> int:
    """Fill the stream and return its length; -1 - position of the first byte that is no UTF-8."""
    i = k = barrier = 0
    start = START
    while i < len(text):
        code, width = decode_utf8(text, i)
        if code < 0:
            return -1 - i
        entry = np.int64(entries[code])
        kind = entry >> CODE_BITS & KIND_MASK
        if kind == SINGLE:
            stream[k] = START | entry & CODE_MASK
            start = START
            k += 1
        elif kind == WORD:
            stream[k] = start | entry & CODE_MASK
            start = 0
            k += 1
        elif kind == SPACE:
            start = START
            if code == NEWLINE:
                stream[k] = LINE_END
                k += 1
        elif kind == BARRIER:
            barrier = k
        elif kind == MARK:
            start = put(entry, start, stream, k, barrier, classes)
            k += 1
        elif kind == SIGMA:
            stream[k] = start | (FINAL_SIGMA if sigma_is_final(text, i, entries) else SMALL_SIGMA)
            start = 0
            k += 1
        elif kind == SEQUENCE:
            first = np.int64(entry & CODE_MASK) + 1
            for j in range(first, first + sequences[first - 1]):
                start = put(np.int64(sequences[j]), start, stream, k, barrier, classes)
                k += 1
        i += width
    if len(text) > 0 and text[-1] != NEWLINE:
        stream[k] = LINE_END
        k += 1
    return k
