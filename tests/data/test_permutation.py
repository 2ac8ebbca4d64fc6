"""The keyed permutation: exact, keyed, and as mixed as a shuffle."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest

from uer_ds.data.permutation import permute


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 10, 97, 100, 4096, 4097, 100003])
def test_it_is_a_bijection(n: int) -> None:
    image = permute(np.arange(n), n, seed=7, epochs=3)
    assert sorted(image.tolist()) == list(range(n))


def test_large_ranges_have_no_collision_and_stay_inside() -> None:
    n = 10**12
    indices = np.concatenate([np.arange(10**5), n - 1 - np.arange(10**5)])
    image = permute(indices, n, seed=7)
    assert image.min() >= 0 and image.max() < n
    assert len(np.unique(image)) == len(indices)
    assert abs(image.mean() / (n / 2) - 1) < 0.01


def test_seed_and_epoch_are_keys_and_may_vary_within_a_batch() -> None:
    indices = np.arange(1000)
    by_key = {(seed, epoch): permute(indices, 1000, seed, epoch).tolist() for seed in (1, 2, -5) for epoch in (0, 1)}
    assert len({tuple(image) for image in by_key.values()}) == 6
    mixed = permute(np.tile(indices, 2), 1000, 1, np.repeat([0, 1], 1000))
    assert mixed.tolist() == by_key[1, 0] + by_key[1, 1]


def test_neighbours_are_torn_apart() -> None:
    n = 20000
    image = permute(np.arange(n), n, seed=0)
    assert abs(np.corrcoef(np.arange(n), image)[0, 1]) < 0.03
    assert abs(np.corrcoef(image[:-1], image[1:])[0, 1]) < 0.03


def test_small_ranges_reach_every_order_about_equally() -> None:
    epochs = np.repeat(np.arange(6000), 3)
    images = permute(np.tile(np.arange(3), 6000), 3, seed=5, epochs=epochs).reshape(-1, 3)
    counts = Counter(tuple(image) for image in images.tolist())
    assert set(counts) == set(itertools.permutations(range(3)))
    assert all(abs(count - 1000) < 150 for count in counts.values())
