"""Lion, LAMB and Muon against their formulas and against the implementations of others."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from uer_ds.config.model import ModelConfig
from uer_ds.config.run import OPTIMIZERS, OptimConfig
from uer_ds.models.init import decays
from uer_ds.models.model import build_model
from uer_ds.train.matrix_optimizers import Lamb, Lion, Muon, orthogonal
from uer_ds.train.optim import build_optimizer, whole_matrices

RATE, DECAY, STEPS = 1e-2, 0.1, 4


def gradients(shape: tuple[int, ...], seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for _ in range(STEPS)]


def after(optimizer: type[torch.optim.Optimizer], start: torch.Tensor, **options: object) -> torch.Tensor:
    """`start` after `STEPS` updates with the same gradients."""
    parameter = nn.Parameter(start.clone())
    stepper = optimizer([parameter], lr=RATE, weight_decay=DECAY, **options)
    for gradient in gradients(tuple(start.shape)):
        parameter.grad = gradient.clone()
        stepper.step()
    return parameter.detach()


def test_lion_is_its_formula() -> None:
    p, m = torch.ones(6, 4), torch.zeros(6, 4)
    for g in gradients((6, 4)):
        c = 0.9 * m + 0.1 * g
        p = p - RATE * (torch.sign(c) + DECAY * p)
        m = 0.99 * m + 0.01 * g
    torch.testing.assert_close(after(Lion, torch.ones(6, 4)), p)


def test_lamb_is_its_formula() -> None:
    p, m, v = torch.full((6, 4), 0.5), torch.zeros(6, 4), torch.zeros(6, 4)
    for step, g in enumerate(gradients((6, 4)), 1):
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        r = (m / (1 - 0.9**step)) / ((v / (1 - 0.999**step)).sqrt() + 1e-6) + DECAY * p
        p = p - RATE * p.norm() / r.norm() * r
    torch.testing.assert_close(after(Lamb, torch.full((6, 4), 0.5)), p)
    zero = after(Lamb, torch.zeros(3))
    assert zero.isfinite().all() and zero.any(), "a tensor of zeros has no norm, and moves all the same"


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (5, 5)])
def test_muon_is_torch_s(shape: tuple[int, int]) -> None:
    theirs = getattr(torch.optim, "Muon", None)
    if theirs is None:
        pytest.skip("this torch has no Muon")
    expected = after(theirs, torch.ones(shape), adjust_lr_fn="match_rms_adamw")
    torch.testing.assert_close(after(Muon, torch.ones(shape)), expected, atol=2e-4, rtol=1e-2)  # theirs is in bfloat16


@pytest.mark.parametrize("shape", [(8, 3), (3, 8)])
def test_orthogonal_brings_singular_values_near_one(shape: tuple[int, int]) -> None:
    values = torch.linalg.svdvals(orthogonal(gradients(shape)[0]))
    assert values.min() > 0.6 and values.max() < 1.3


def test_muon_leaves_tables_heads_and_vectors_to_adamw() -> None:
    sizes = {"emb_size": 8, "hidden_size": 8, "feedforward_size": 16, "heads_num": 2, "layers_num": 1}
    model = build_model(ModelConfig(vocab_size=11, embedding=("word", "pos"), **sizes))  # type: ignore[arg-type]
    optimizer = build_optimizer(model, decays(model), OptimConfig(optimizer="muon"))
    names = {parameter: name for name, parameter in model.named_parameters()}
    groups = [({names[p] for p in group["params"]}, group) for group in optimizer.param_groups]
    matrices = set.union(*(found for found, group in groups if group["use_muon"]))
    assert len(matrices) == 6 and all(name.startswith("encoder.") and name.endswith("weight") for name in matrices)
    assert sum(len(found) for found, _ in groups) == len(names)
    assert {group["weight_decay"] for found, group in groups if found & matrices} == {0.01}


def test_muon_s_other_half_is_adamw() -> None:
    parameter, theirs = (nn.Parameter(torch.full((5,), 0.3)) for _ in range(2))
    ours = Muon([{"params": [parameter], "use_muon": False}], lr=RATE, weight_decay=DECAY)
    reference = torch.optim.AdamW([theirs], lr=RATE, weight_decay=DECAY)
    for gradient in gradients((5,)):
        parameter.grad, theirs.grad = gradient.clone(), gradient.clone()
        ours.step()
        reference.step()
    torch.testing.assert_close(parameter.detach(), theirs.detach())


def test_who_needs_whole_matrices() -> None:
    assert [name for name in OPTIMIZERS if whole_matrices(name)] == ["adafactor", "lamb", "muon"]
