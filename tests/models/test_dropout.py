"""Dropout on the CPU: the right share is dropped, the mean stays, the same seed gives the same elements."""

from __future__ import annotations

import pytest
import torch

from uer_ds.models.dropout import dropout, keep_mask


@pytest.mark.parametrize("probability", [0.001, 0.0123, 0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_share_and_mean(probability: float, dtype: torch.dtype) -> None:
    torch.manual_seed(1)
    size = 2_000_003  # no multiple of a word's elements
    found = dropout(torch.ones(size, dtype=dtype), probability, training=True).float()
    share = float((found == 0).double().mean())
    deviation = (probability * (1 - probability) / size) ** 0.5
    assert abs(share - probability) < probability / 50 + 5 * deviation
    kept = found[found > 0]
    assert kept.min() == kept.max()
    assert float(kept[0]) == pytest.approx(1 / (1 - share), rel=5 * deviation / (1 - probability) + 2**-8)


def test_neighbours_are_independent() -> None:
    torch.manual_seed(1)
    dropped = (~keep_mask((1000, 1001), 0.5)).float() - 0.5
    for distance in (1, 2, 7, 8, 16):
        assert abs(float((dropped[:, distance:] * dropped[:, :-distance]).mean())) < 0.25 * 0.01


def test_the_seed_decides() -> None:
    masks = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        masks.append(keep_mask((64, 64), 0.1))
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])


def test_nothing_is_dropped_outside_of_training() -> None:
    x = torch.randn(5)
    assert dropout(x, 0.5, training=False) is x
    assert dropout(x, 0.0, training=True) is x
    assert not dropout(x, 1 - 2**-17, training=True).isnan().any()
