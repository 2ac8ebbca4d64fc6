"""The compiled WordPiece step: words -> ids, longest match first, over a trie in an open-addressing table.

A state of the trie is a number; the table maps (state, code point) to the next state, `accepts` maps a state to the id
of the piece that ends there. State 0 begins a word, state 1 continues one (the pieces that are written with `##`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uer_ds.tokenizers.basic_step import LINE_END, START, STREAM
from uer_ds.tokenizers.characters import CODE_BITS, CODE_MASK, CODE_POINTS
from uer_ds.tokenizers.jit import compiled

MAX_WORD_LENGTH = 200  # characters; a longer word is unknown. UER-py's value (transformers: 100).
CONTINUATION = "##"
NOTHING = -1
HASH_FACTOR = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: spreads neighbouring keys over the table

KEYS = "Array(int64, 1, 'C')"
INTS = "Array(int32, 1, 'C')"


@dataclass(frozen=True)
class WordPieceTrie:
    """Attributes:
    keys: [slots] int64, state and code point of a step, `NOTHING` where the slot is free; slots is a power of two.
    targets: [slots] int32, the state the step leads to.
    accepts: [states] int32, id of the piece that ends in a state, or `NOTHING`.
    singles: [CODE_POINTS] int32, id of the word that is just this character; most of Chinese text.
    unknown: id of a word that cannot be spelt.
    """

    keys: NDArray[np.int64]
    targets: NDArray[np.int32]
    accepts: NDArray[np.int32]
    singles: NDArray[np.int32]
    unknown: int

    def match(self, stream: NDArray[np.int32], lines: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Ids of a stream of words and the offsets of its lines. The stream's memory is reused for the ids."""
        offsets = np.zeros(lines + 1, dtype=np.int64)
        count = match_words(
            stream, self.keys, self.targets, self.accepts, self.singles, np.int32(self.unknown), offsets
        )
        return stream[:count].copy(), offsets


def build_trie(ids: dict[str, int], unknown: int) -> WordPieceTrie:
    """The trie of a WordPiece vocabulary; about 50 ms for 21,128 tokens."""
    steps: dict[int, int] = {}
    accepts = [NOTHING, NOTHING]
    singles = np.full(CODE_POINTS, unknown, dtype=np.int32)
    for token, index in ids.items():
        state = 1 if token.startswith(CONTINUATION) else 0
        letters = token.removeprefix(CONTINUATION)
        if state == 0 and len(letters) == 1:
            singles[ord(letters)] = index
        for letter in letters:
            state = steps.setdefault(state << CODE_BITS | ord(letter), len(accepts))
            if state == len(accepts):
                accepts.append(NOTHING)
        if letters:
            accepts[state] = index
    keys, targets = _hash_table(steps)
    return WordPieceTrie(keys, targets, np.array(accepts, dtype=np.int32), singles, unknown)


def _hash_table(steps: dict[int, int]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    slots = 1 << (2 * len(steps) + 1).bit_length()  # at most half full, so searches are short
    keys = np.full(slots, NOTHING, dtype=np.int64)
    targets = np.zeros(slots, dtype=np.int32)
    count = len(steps)
    insert_all(
        np.fromiter(steps, dtype=np.int64, count=count),
        np.fromiter(steps.values(), dtype=np.int32, count=count),
        keys,
        targets,
    )
    return keys, targets


@compiled(f"int64({KEYS}, int64)")
def find_slot(keys: Any, key: int) -> int:
    """The slot of `key`, or the free slot where it belongs."""
    mask = len(keys) - 1
    slot = np.int64((np.uint64(key) * HASH_FACTOR) >> np.uint64(32)) & mask
    while keys[slot] != key and keys[slot] != NOTHING:
        slot = (slot + 1) & mask
    return slot


@compiled(f"void({KEYS}, {INTS}, {KEYS}, {INTS})")
def insert_all(new_keys: Any, new_targets: Any, keys: Any, targets: Any) -> None:
    for i in range(len(new_keys)):
        slot = find_slot(keys, new_keys[i])
        keys[slot] = new_keys[i]
        targets[slot] = new_targets[i]


@compiled(f"int64({STREAM}, int64, int64, {KEYS}, {INTS}, {INTS}, int64, int64)")
def match_word(stream: Any, i: int, end: int, keys: Any, targets: Any, accepts: Any, unknown: int, k: int) -> int:
    """Write the ids of the word at stream[i:end] from position `k` on; returns the position after them."""
    first = k
    state = 0
    while i < end:
        piece, piece_end = NOTHING, i
        j = i
        while j < end:
            key = state << CODE_BITS | np.int64(stream[j] & CODE_MASK)
            slot = find_slot(keys, key)
            if keys[slot] == NOTHING:
                break
            state = np.int64(targets[slot])
            j += 1
            if accepts[state] != NOTHING:
                piece, piece_end = np.int64(accepts[state]), j
        if piece == NOTHING:
            stream[first] = unknown
            return first + 1
        stream[k] = piece
        k += 1
        i = piece_end
        state = 1
    return k


@compiled(f"int64({STREAM}, {KEYS}, {INTS}, {INTS}, {INTS}, int64, Array(int64, 1, 'C'))")
def match_words(stream: Any, keys: Any, targets: Any, accepts: Any, singles: Any, unknown: int, offsets: Any) -> int:
    """Replace the stream by its ids, fill in where lines end, and return the number of ids.

    In place, because ids are never ahead of the code points they come from and fresh memory costs page faults.
    """
    i = k = line = 0
    while i < len(stream):
        if stream[i] == LINE_END:
            line += 1
            offsets[line] = k
            i += 1
            continue
        end = i + 1
        while not stream[end] & START:
            end += 1
        if end == i + 1:
            stream[k] = singles[stream[i] & CODE_MASK]
            k += 1
        elif end - i > MAX_WORD_LENGTH:
            stream[k] = unknown
            k += 1
        else:
            k = match_word(stream, i, end, keys, targets, accepts, unknown, k)
        i = end
    return k
