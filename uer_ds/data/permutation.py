"""A keyed permutation of 0 .. n-1 computed on the fly: shuffling without an array of indices.

The index is split into (left, right) in a rectangle of a x b >= n cells; Feistel rounds add a hash of one half to the
other, modulo its side, which is a bijection of the rectangle whatever the hash (Black and Rogaway, "Ciphers with
arbitrary finite domains", 2002). Results beyond n are sent through again (cycle walking); since a x b < n + a that is
rare. Exact for any n from 1 to 2^62, no memory, about 0.1 ms for a batch of indices.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

ROUNDS = 8
# Increment and multipliers of splitmix64 (Steele, Lea, Flood, 2014).
GOLDEN = 0x9E3779B97F4A7C15
MIX_1, MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def permute(indices: NDArray, n: int, seed: int, epochs: NDArray | int = 0) -> NDArray[np.int64]:
    """Images of indices [B] (0 .. n-1) under the permutation of (seed, epoch); `epochs` is one number or [B]."""
    left_side = max(1, math.isqrt(n - 1) + 1)
    sides = (np.uint64(left_side), np.uint64(-(-n // left_side)))
    start = np.uint64((seed * GOLDEN) % 2**64)
    keys = _mix(_mix(np.atleast_1d(epochs).astype(np.uint64) + start))
    values = indices.astype(np.uint64)
    keys = np.broadcast_to(keys, values.shape)
    pending = np.arange(len(values))
    while pending.size:
        values[pending] = _rounds(values[pending], keys[pending], sides)
        pending = pending[values[pending] >= np.uint64(n)]
    return values.astype(np.int64)


def _rounds(values: NDArray, keys: NDArray, sides: tuple[np.uint64, np.uint64]) -> NDArray:
    left, right = values % sides[0], values // sides[0]
    for r in range(ROUNDS):
        key = keys + np.uint64((r * GOLDEN) % 2**64)
        if r % 2 == 0:
            left = (left + _mix(right ^ key) % sides[0]) % sides[0]
        else:
            right = (right + _mix(left ^ key) % sides[1]) % sides[1]
    return right * sides[0] + left


def _mix(x: NDArray) -> NDArray:
    """The finaliser of splitmix64: a bijective hash of 64-bit words."""
    x = (x ^ (x >> np.uint64(30))) * MIX_1
    x = (x ^ (x >> np.uint64(27))) * MIX_2
    return x ^ (x >> np.uint64(31))
