"""Recomputed activations: the same losses and gradients, dropout included, from fewer saved tensors."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.models.golden_families import family
from uer_ds.data.batch import Batch
from uer_ds.models import transformer
from uer_ds.models.model import Model, build_model


def train_once(model: Model, batch: Batch, layers: int) -> tuple[list[Tensor], int]:
    """Losses and gradients, and the bytes saved for the backward pass."""
    saved: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    model.zero_grad()
    model.recompute_activations(layers)
    torch.manual_seed(0)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        losses = [total for name, (total, _) in model(batch).items() if name.startswith("loss_")]
    torch.stack(losses).sum().backward()
    gradients = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    return [*(loss.detach() for loss in losses), *gradients], sum(saved.values())


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("name", ["bert", "albert", "t5_v1_1", "bert_residual_attention", "bert_relative_position"])
def test_recomputing_changes_nothing_but_memory(name: str, layers: int) -> None:
    torch.manual_seed(0)
    case = family(name, "normal")
    model = build_model(case.config(layers_num=4, dropout=0.1)).train()
    wanted, plain = train_once(model, case.batch(), 0)
    found, recomputed = train_once(model, case.batch(), layers)
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-8)
    assert recomputed < 0.8 * plain


@pytest.mark.parametrize("layers", [1, 2, 3, 4, 7])
@pytest.mark.parametrize(
    ("name", "stacks"), [("bert", 1), ("albert", 1), ("bert_residual_attention", 1), ("t5_v1_1", 2)]
)
def test_a_piece_has_as_many_layers_as_asked(
    name: str, stacks: int, layers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted by the calls of torch's checkpoint: one a piece, in training only."""
    pieces = []

    def note(function: Any, *arguments: Any, **options: Any) -> Any:
        pieces.append(len(function.args[0]))
        return torch.utils.checkpoint.checkpoint(function, *arguments, **options)

    monkeypatch.setattr(transformer, "checkpoint", note)
    case = family(name, "normal")
    model = build_model(case.config(layers_num=4, decoder_layers_num=4 if stacks == 2 else None)).train()
    train_once(model, case.batch(), layers)
    assert len(pieces) == stacks * math.ceil(4 / layers)
    assert sum(pieces) == stacks * 4 and max(pieces) == min(layers, 4)
    model.eval()(case.batch())
    train_once(model.train(), case.batch(), 0)
    assert len(pieces) == stacks * math.ceil(4 / layers)
