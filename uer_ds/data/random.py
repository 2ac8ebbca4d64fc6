"""Random numbers that depend on what is drawn and not on who draws it: Philox4x32-10 over whole batches.

Philox (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", 2011) turns a 128-bit counter and a
64-bit key into 128 random bits. Here the key is (seed, stream name) and the counter (position, sample number, epoch),
so a sample's draws are the same on any rank, with any number of workers and after any resume. There is no state to
save.
Cost: about 20 ns a counter (four words) in numpy. B samples, P positions a sample.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

U32 = NDArray[np.uint32]
U64 = NDArray[np.uint64]

# Multipliers and key increments (Weyl sequences) of Philox4x32 from the paper.
MULTIPLIER_0, MULTIPLIER_1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
WEYL_0, WEYL_1 = 0x9E3779B9, 0xBB67AE85
ROUNDS = 10
LOW = np.uint64(0xFFFFFFFF)
HALF = np.uint64(32)


def philox4x32(counter: tuple[U64, U64, U64, U64], key: tuple[int, int]) -> tuple[U64, U64, U64, U64]:
    """Encrypt arrays of counters (four words below 2^32 each, broadcastable) with one key."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(ROUNDS):
        product_0, product_1 = c0 * MULTIPLIER_0, c2 * MULTIPLIER_1
        c0, c2 = (product_1 >> HALF) ^ c1 ^ np.uint64(k0), (product_0 >> HALF) ^ c3 ^ np.uint64(k1)
        c1, c3 = product_1 & LOW, product_0 & LOW
        k0, k1 = (k0 + WEYL_0) & 0xFFFFFFFF, (k1 + WEYL_1) & 0xFFFFFFFF
    return c0, c1, c2, c3


class Draws:
    """One named stream of random words for every sample of every epoch.

    Two streams of one seed are independent, so a new kind of draw never changes the old ones.
    """

    def __init__(self, seed: int, stream: str):
        digest = hashlib.blake2b(f"{seed}/{stream}".encode(), digest_size=8).digest()
        self._key = (int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:], "little"))

    def words(self, epochs: NDArray, numbers: NDArray, count: int) -> U32:
        """Words 0 .. count-1 of every sample: [B, count] uint32, uniform."""
        blocks = np.arange(-(-count // 4), dtype=np.uint64)[None, :]
        words = self._blocks(np.asarray(epochs)[:, None], np.asarray(numbers)[:, None], blocks)  # 4 x [B, blocks]
        result = np.empty((*words[0].shape, 4), dtype=np.uint32)
        for i, word in enumerate(words):
            result[..., i] = word
        return result.reshape(len(result), -1)[:, :count]

    def words_at(self, epochs: NDArray, numbers: NDArray, positions: NDArray) -> U32:
        """Four words for each (epoch, number, position): [N, 4] uint32. For draws that only few positions need."""
        words = self._blocks(np.asarray(epochs), np.asarray(numbers), np.asarray(positions).astype(np.uint64))
        return np.stack(words, axis=-1).astype(np.uint32)

    def _blocks(self, epochs: NDArray, numbers: NDArray, blocks: U64) -> tuple[U64, U64, U64, U64]:
        numbers = numbers.astype(np.uint64)
        low, high, epochs = np.broadcast_arrays(numbers & LOW, numbers >> HALF, epochs.astype(np.uint64) & LOW)
        return philox4x32((blocks, low, high, epochs), self._key)


def below(words: U32, bound: NDArray | int) -> NDArray[np.int64]:
    """Uniform integers in 0 .. bound-1 from 32-bit words (bound < 2^32); the bias is below bound / 2^32."""
    return ((words.astype(np.uint64) * np.asarray(bound).astype(np.uint64)) >> HALF).astype(np.int64)


def pick(word: int, bound: int) -> int:
    """`below` for a single number."""
    return word * bound >> 32


def threshold(probability: float) -> np.uint64:
    """A 32-bit word is below this with the given probability."""
    return np.uint64(round(probability * 2**32))
