"""Initial weights by role: their spread, what deep_init changes, and that a seed fixes them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import nn

from tests.models.golden_families import FAMILIES, family
from uer_ds.models.init import decays, shrink_branches
from uer_ds.models.layers import PIECE, draw
from uer_ds.models.model import Model, build_model

WIDE = {"emb_size": 256, "hidden_size": 256, "feedforward_size": 1024, "layers_num": 2}
"""Sizes at which a standard deviation can be measured."""


def wide(name: str) -> Model:
    return build_model(family(name, "normal").config(**WIDE))


@pytest.mark.parametrize("name", ["bert", "t5", "gpt2_t5norm_gated_silu"])
def test_roles(name: str) -> None:
    torch.manual_seed(0)
    model = wide(name)
    for key, parameter in model.named_parameters():
        if "layer_norm" in key:
            assert torch.equal(parameter, torch.full_like(parameter, 0.0 if key.endswith("beta") else 1.0)), key
        else:
            error = 0.02 * 5 / math.sqrt(2 * parameter.numel())
            assert parameter.std(correction=0).item() == pytest.approx(0.02, abs=error), key
            assert abs(parameter.mean().item()) < 0.02 * 5 / math.sqrt(parameter.numel()), key


@pytest.mark.parametrize("name", ["bert", "albert", "t5"])
def test_deep_init_shrinks_what_ends_a_branch(name: str) -> None:
    torch.manual_seed(0)
    model = build_model(family(name, "normal").config(**WIDE | {"emb_size": 128 if name == "albert" else 256}))
    shrink_branches(model)
    for key, parameter in model.named_parameters():
        is_branch_end = ("final_linear" in key or "feed_forward.linear_2" in key) and not key.startswith("target")
        if is_branch_end and key.endswith("bias"):
            assert not parameter.any(), key
        elif key.endswith("weight") and "layer_norm" not in key and parameter.numel() > 1000:
            wanted = 0.02 / math.sqrt(2 * 2) if is_branch_end else 0.02
            assert parameter.std().item() == pytest.approx(wanted, rel=0.1), key


def test_a_seed_fixes_the_weights() -> None:
    states = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        states.append(wide("bert").state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert not torch.equal(states[0]["target.sp.linear_1.weight"], states[2]["target.sp.linear_1.weight"])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_a_type_changes_the_rounding_only(dtype: torch.dtype) -> None:
    """Also beyond the piece that is drawn at a time."""
    full, other = torch.empty(PIECE + 1000), torch.empty(PIECE + 1000, dtype=dtype)
    for weight in (full, other):
        torch.manual_seed(3)
        draw(weight)
    assert torch.equal(other, full.to(dtype))


def test_threads_change_nothing() -> None:
    drawn = []
    before = torch.get_num_threads()
    for threads in (1, 3):
        torch.set_num_threads(threads)
        torch.manual_seed(3)
        drawn.append(torch.empty(3 * PIECE // 2))
        draw(drawn[-1])
    torch.set_num_threads(before)
    assert torch.equal(*drawn)
    first, second = drawn[0][: PIECE // 2], drawn[0][PIECE:]
    assert not torch.equal(first, second)  # pieces have draws of their own
    assert drawn[0].std().item() == pytest.approx(0.02, rel=1e-3)


def test_the_meta_device_takes_no_numbers() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    with torch.device("meta"):
        wide("bert")
    assert torch.equal(torch.get_rng_state(), before)


def test_every_weight_is_gathered_where_deep_init_draws_it() -> None:
    gathered: list[nn.Parameter] = []

    @contextmanager
    def gather(parameters: list[nn.Parameter]) -> Iterator[None]:
        before = [parameter.clone() for parameter in model.parameters()]
        gathered.extend(parameters)
        yield
        changed = [p for p, old in zip(model.parameters(), before, strict=True) if not torch.equal(p, old)]
        assert {id(p) for p in changed} <= {id(p) for p in parameters}

    model = wide("bert")
    shrink_branches(model, gather)
    assert len(gathered) == 2 * 2 * 2  # two layers, two branches each, weight and bias


@pytest.mark.parametrize("name", FAMILIES)
def test_biases_and_norms_do_not_decay(name: str) -> None:
    model = build_model(family(name, "normal").config())
    found = decays(model)
    assert found.keys() == dict(model.named_parameters()).keys()
    for key, decay in found.items():
        words = ("bias", "gamma", "beta", "layer_norm", "conv_b", "gate_b")
        assert decay == (not any(word in key for word in words)), key
