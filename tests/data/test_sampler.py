"""The order of samples: nothing lost, nothing twice, whatever the layout."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from uer_ds.data.sampler import SampleNumbers, Sampler


def pairs(samples: SampleNumbers) -> list[tuple[int, int]]:
    return list(zip(samples[0].tolist(), samples[1].tolist(), strict=True))


def test_an_epoch_holds_every_sample_once_and_epochs_differ() -> None:
    sampler = Sampler(101, seed=7)
    first, second = pairs(sampler.update(0, 101)), pairs(sampler.update(101, 101))
    assert {epoch for epoch, _ in first} == {0} and {epoch for epoch, _ in second} == {1}
    assert sorted(number for _, number in first) == sorted(number for _, number in second) == list(range(101))
    assert [n for _, n in first] != [n for _, n in second]


def test_the_last_update_wraps_into_the_next_epoch() -> None:
    sampler = Sampler(10, seed=7)
    assert [epoch for epoch, _ in pairs(sampler.update(8, 5))] == [0, 0, 1, 1, 1]
    assert len(set(pairs(sampler.update(0, 1000)))) == 1000


def test_without_shuffling_the_order_is_the_dataset_s() -> None:
    assert pairs(Sampler(3, seed=7, shuffle=False).update(2, 3)) == [(0, 2), (1, 0), (1, 1)]


@pytest.mark.parametrize(
    ("world_size", "batch_size", "accumulation"), [(1, 12, 1), (3, 2, 2), (4, 3, 1), (2, 1, 6), (6, 2, 1)]
)
@pytest.mark.parametrize("consumed", [0, 12, 96])
def test_ranks_share_an_update_exactly(world_size: int, batch_size: int, accumulation: int, consumed: int) -> None:
    sampler = Sampler(100, seed=3)
    shares = [sampler.share(consumed, rank, world_size, batch_size, accumulation) for rank in range(world_size)]
    assert all(len(share) == accumulation and all(len(e) == batch_size for e, _ in share) for share in shares)
    union = [pair for micro in range(accumulation) for share in shares for pair in pairs(share[micro])]
    assert union == pairs(sampler.update(consumed, 12))


def test_changing_the_world_size_in_the_middle_of_an_epoch_loses_and_repeats_nothing() -> None:
    sampler = Sampler(60, seed=3)
    seen, consumed = [], 0
    for world_size, batch_size in [(1, 4), (4, 2), (3, 3), (2, 5), (5, 3), (7, 2)]:
        for rank in range(world_size):
            for share in sampler.share(consumed, rank, world_size, batch_size, 1):
                seen += pairs(share)
        consumed += world_size * batch_size
    assert consumed == 60 and sorted(seen) == [(0, n) for n in range(60)]


@pytest.mark.parametrize(("world_size", "batch_size", "accumulation"), [(1, 4, 6), (3, 4, 2), (4, 6, 1), (1, 24, 1)])
def test_lengths_order_an_update_and_leave_it_what_it_is(world_size: int, batch_size: int, accumulation: int) -> None:
    def lengths(epochs: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        return numbers * 7919 % 50 + epochs

    plain, sorting = Sampler(100, seed=3), Sampler(100, seed=3, lengths=lengths)
    shares = [sorting.share(96, rank, world_size, batch_size, accumulation) for rank in range(world_size)]
    assert all(len(share) == accumulation and all(len(e) == batch_size for e, _ in share) for share in shares)
    union = [pair for share in shares for samples in share for pair in pairs(samples)]
    assert sorted(union) == sorted(pairs(plain.update(96, 24))) and len(union) == 24
    if world_size * accumulation == 1:
        assert union == pairs(plain.update(96, 24))  # nothing to put together
        return
    micros = [np.concatenate([lengths(*share[micro]) for share in shares]) for micro in range(accumulation)]
    assert all(before.min() >= after.max() for before, after in pairwise(micros))
    longest = [[lengths(*samples).max() for samples in share] for share in shares]
    assert all(first >= later for one, other in pairwise(longest) for first, later in zip(one, other, strict=True))


def test_huge_epochs_cost_no_memory() -> None:
    epochs, numbers = Sampler(10**12, seed=7).update(10**13 - 2, 4)
    assert epochs.tolist() == [9, 9, 10, 10] and numbers.max() < 10**12 and len(np.unique(numbers)) == 4
