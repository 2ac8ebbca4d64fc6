"""The compiled code of the WordPiece tokenizer: UTF-8 bytes -> normalised words -> ids.

Between the two steps stands a stream of int32, one for each code point of the normalised words; `START` marks the first
code point of a word and `LINE_END` stands at the end of each line. A stream is never longer than its text in bytes plus
one, since no character becomes more code points than it has bytes. What happens to a code point is in the table of
`characters.py`, what spells a word in the trie of `trie.py`.

All constants that the compiled functions use are defined in this file, because the cache on disk notices changes of
this file only.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from uer_ds.tokenizers.jit import compiled

# An entry holds what a code point becomes in its low 21 bits, then three bits of kind, then two flags.
CODE_BITS = 21
CODE_MASK = (1 << CODE_BITS) - 1
KIND_MASK = 7
CASED = 1 << 24
CASE_IGNORABLE = 1 << 25

WORD = 0  # part of a word
SINGLE = 1  # a word of its own: an ideograph or a punctuation mark
SPACE = 2  # ends a word
DROPPED = 3  # vanishes; its neighbours join
BARRIER = 4  # vanishes, but marks are not reordered across it (a combining mark of class 0)
MARK = 5  # stays, and takes its canonical place among the marks before it
SEQUENCE = 6  # becomes several code points: the code is an index into `sequences`, where length and entries stand
SIGMA = 7  # becomes one of the two small sigmas

START = 1 << 22
LINE_END = START | CODE_MASK

# A slot of the trie's table holds state, code point and next state, 21 bits each, in one int64: one memory access.
STATE_BITS = 21
STATE_MASK = (1 << STATE_BITS) - 1
NOTHING = -1
HASH_FACTOR = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: spreads neighbouring keys over the table

MAX_WORD_LENGTH = 200  # characters; a longer word is unknown. UER-py's value (transformers: 100).
SMALL_SIGMA = 0x3C3
FINAL_SIGMA = 0x3C2
NEWLINE = 10

# Unsigned positions: numba lets negative indices count from the end, and the test for that costs a third of the speed.
ZERO, ONE, TWO, THREE = np.uint64(0), np.uint64(1), np.uint64(2), np.uint64(3)

BYTES = "Array(uint8, 1, 'C', readonly=True)"
TABLE = "Array(uint32, 1, 'C', readonly=True)"
STREAM = "Array(int32, 1, 'C')"
SLOTS = "Array(int64, 1, 'C')"
IDS = "Array(int32, 1, 'C')"


@compiled(inline=True)
def decode_utf8(text: Any, i: np.uint64) -> tuple[int, int]:
    """The code point at byte `i` and its width; code point -1 where there is no valid one."""
    lead = np.int64(text[i])
    if lead < 0x80:
        return lead, 1
    left = np.uint64(len(text)) - i
    if 0xE0 <= lead < 0xF0 and left > TWO:
        b, c = np.int64(text[i + ONE]), np.int64(text[i + TWO])
        code = (lead & 15) << 12 | (b & 63) << 6 | (c & 63)
        if b & 0xC0 == 0x80 and c & 0xC0 == 0x80 and code >= 0x800 and not 0xD800 <= code < 0xE000:
            return code, 3
    elif 0xC2 <= lead < 0xE0 and left > ONE:
        b = np.int64(text[i + ONE])
        if b & 0xC0 == 0x80:
            return (lead & 31) << 6 | (b & 63), 2
    elif 0xF0 <= lead < 0xF5 and left > THREE:
        b, c, d = np.int64(text[i + ONE]), np.int64(text[i + TWO]), np.int64(text[i + THREE])
        code = (lead & 7) << 18 | (b & 63) << 12 | (c & 63) << 6 | (d & 63)
        if b & 0xC0 == 0x80 and c & 0xC0 == 0x80 and d & 0xC0 == 0x80 and 0x10000 <= code < 0x110000:
            return code, 4
    return -1, 1


@compiled(f"boolean({BYTES}, int64, {TABLE})")
def sigma_is_final(text: Any, i: int, entries: Any) -> bool:
    """Whether the capital sigma at byte `i` ends its word: after a cased letter and not before one (Final_Sigma).

    Only case-ignorable characters may stand between. Whitespace and ideographs, which end a word, are neither.
    """
    j = i
    flags = CASE_IGNORABLE
    while j > 0 and flags & CASE_IGNORABLE:
        j -= 1
        while text[j] & 0xC0 == 0x80:
            j -= 1
        flags = np.int64(entries[decode_utf8(text, np.uint64(j))[0]])
    if not flags & CASED:
        return False
    j = i + 2
    while j < len(text):
        code, width = decode_utf8(text, np.uint64(j))
        flags = np.int64(entries[code]) if code >= 0 else 0
        if not flags & CASE_IGNORABLE:
            return not flags & CASED
        j += width
    return True


@compiled(f"int64(int64, int64, {STREAM}, int64, int64, {BYTES})")
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


@compiled(f"int64({BYTES}, {TABLE}, {TABLE}, {BYTES}, {STREAM})")
def split_words(text: Any, entries: Any, sequences: Any, classes: Any, stream: Any) -> int:
    """Fill the stream and return its length; -1 - position of the first byte that is no UTF-8."""
    i = k = barrier = ZERO
    start = START
    while i < np.uint64(len(text)):
        if text[i] < 0x80:
            code, width = np.int64(text[i]), 1
        else:
            code, width = decode_utf8(text, i)
            if code < 0:
                return -1 - np.int64(i)
        entry = np.int64(entries[code])
        kind = entry >> CODE_BITS & KIND_MASK
        if kind == SINGLE:
            stream[k] = START | entry & CODE_MASK
            start = START
            k += ONE
        elif kind == WORD:
            stream[k] = start | entry & CODE_MASK
            start = 0
            k += ONE
        elif kind == SPACE:
            start = START
            if code == NEWLINE:
                stream[k] = LINE_END
                k += ONE
        elif kind == BARRIER:
            barrier = k
        elif kind == MARK:
            start = put(entry, start, stream, np.int64(k), np.int64(barrier), classes)
            k += ONE
        elif kind == SIGMA:
            stream[k] = start | (FINAL_SIGMA if sigma_is_final(text, np.int64(i), entries) else SMALL_SIGMA)
            start = 0
            k += ONE
        elif kind == SEQUENCE:
            first = np.int64(entry & CODE_MASK) + 1
            for j in range(first, first + sequences[first - 1]):
                start = put(np.int64(sequences[j]), start, stream, np.int64(k), np.int64(barrier), classes)
                k += ONE
        i += np.uint64(width)
    if len(text) > 0 and text[-1] != NEWLINE:
        stream[k] = LINE_END
        k += ONE
    return np.int64(k)


@compiled(inline=True)
def find_slot(slots: Any, key: int) -> np.uint64:
    """The slot of `key` (state and code point), or the free slot where it belongs."""
    last = np.uint64(len(slots) - 1)
    slot = (np.uint64(key) * HASH_FACTOR) >> np.uint64(32) & last
    while slots[slot] != NOTHING and slots[slot] >> STATE_BITS != key:
        slot = (slot + ONE) & last
    return slot


@compiled(f"void({SLOTS}, {SLOTS})")
def insert_all(steps: Any, slots: Any) -> None:
    """Put steps into an empty table."""
    for step in steps:
        slots[find_slot(slots, step >> STATE_BITS)] = step


@compiled(f"uint64({STREAM}, uint64, uint64, {SLOTS}, {IDS}, int64, uint64)")
def match_word(
    stream: Any, i: np.uint64, end: np.uint64, slots: Any, accepts: Any, unknown: int, k: np.uint64
) -> np.uint64:
    """Write the ids of the word at stream[i:end] from position `k` on; returns the position after them."""
    first = k
    state = 0
    while i < end:
        piece, piece_end = NOTHING, i
        j = i
        while j < end:
            step = slots[find_slot(slots, state << CODE_BITS | np.int64(stream[j] & CODE_MASK))]
            if step == NOTHING:
                break
            state = step & STATE_MASK
            j += ONE
            if accepts[np.uint64(state)] != NOTHING:
                piece, piece_end = np.int64(accepts[np.uint64(state)]), j
        if piece == NOTHING:
            stream[first] = unknown
            return first + ONE
        stream[k] = piece
        k += ONE
        i = piece_end
        state = 1
    return k


@compiled(f"int64({STREAM}, {SLOTS}, {IDS}, {IDS}, int64, Array(int64, 1, 'C'))")
def match_words(stream: Any, slots: Any, accepts: Any, singles: Any, unknown: int, offsets: Any) -> int:
    """Replace the stream by its ids, fill in where lines end, and return the number of ids.

    In place, because ids are never ahead of the code points they come from and fresh memory costs page faults.
    """
    i = k = ZERO
    line = 0
    while i < np.uint64(len(stream)):
        if stream[i] == LINE_END:
            line += 1
            offsets[line] = k
            i += ONE
            continue
        end = i + ONE
        while not stream[end] & START:
            end += ONE
        if end == i + ONE:
            stream[k] = singles[np.uint64(stream[i] & CODE_MASK)]
            k += ONE
        elif end - i > np.uint64(MAX_WORD_LENGTH):
            stream[k] = unknown
            k += ONE
        else:
            k = match_word(stream, i, end, slots, accepts, unknown, k)
        i = end
    return np.int64(k)
