"""Philox against its published vectors, and draws that depend on nothing but what is drawn."""

from __future__ import annotations

import numpy as np
import pytest

from uer_ds.data.random import Draws, below, philox4x32, threshold

# Known answers of philox4x32-10 published with the authors' Random123 library: counter, key, result.
VECTORS = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


@pytest.mark.parametrize(("counter", "key", "expected"), VECTORS)
def test_published_vectors(counter: str, key: str, expected: str) -> None:
    c0, c1, c2, c3 = (np.array([int(word, 16)], dtype=np.uint64) for word in counter.split())
    k0, k1 = (int(word, 16) for word in key.split())
    assert [f"{int(word[0]):08x}" for word in philox4x32((c0, c1, c2, c3), (k0, k1))] == expected.split()


def test_a_sample_draws_the_same_in_any_batch() -> None:
    draws = Draws(7, "test")
    epochs, numbers = np.array([0, 1, 0, 3]), np.array([5, 5, 6, 10**12])
    together = draws.words(epochs, numbers, 10)
    for i in range(4):
        alone = draws.words(epochs[i : i + 1], numbers[i : i + 1], 7)
        assert (alone[0] == together[i, :7]).all()
    assert len({row.tobytes() for row in together}) == 4


def test_every_part_of_the_key_matters() -> None:
    reference = Draws(7, "a").words(np.array([0]), np.array([0]), 4).tolist()
    others = [
        Draws(8, "a").words(np.array([0]), np.array([0]), 4).tolist(),
        Draws(7, "b").words(np.array([0]), np.array([0]), 4).tolist(),
        Draws(7, "a").words(np.array([1]), np.array([0]), 4).tolist(),
        Draws(7, "a").words(np.array([0]), np.array([2**32]), 4).tolist(),
    ]
    assert reference not in others


def test_words_at_are_the_words_of_that_block() -> None:
    draws = Draws(1, "test")
    row = draws.words(np.array([2]), np.array([9]), 12)[0]
    some = draws.words_at(np.array([2, 2]), np.array([9, 9]), np.array([2, 0]))
    assert some.tolist() == [row[8:12].tolist(), row[0:4].tolist()]


def test_words_are_uniform_and_uncorrelated() -> None:
    words = Draws(3, "test").words(np.zeros(200, int), np.arange(200), 500) / 2**32
    assert abs(words.mean() - 0.5) < 0.003  # 3 standard errors of 10^5 draws
    assert abs(np.corrcoef(words[:, :-1].ravel(), words[:, 1:].ravel())[0, 1]) < 0.01
    assert abs(np.corrcoef(words[:-1].ravel(), words[1:].ravel())[0, 1]) < 0.01


def test_below_covers_its_range_evenly() -> None:
    words = Draws(3, "test").words(np.zeros(1, int), np.zeros(1, int), 60000)[0]
    counts = np.bincount(below(words, 6), minlength=6)
    assert len(counts) == 6 and (abs(counts - 10000) < 400).all()
    assert below(np.array([2**32 - 1], dtype=np.uint32), 10)[0] == 9


def test_threshold_has_the_given_probability() -> None:
    words = Draws(3, "test").words(np.zeros(1, int), np.ones(1, int), 100000)[0]
    assert abs((words < threshold(0.8)).mean() - 0.8) < 0.004
