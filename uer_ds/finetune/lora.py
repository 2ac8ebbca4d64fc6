"""Low-rank adapters (Hu et al. 2021) by the package peft: a body that learns through a few small matrices.

Beside the query and the value projection of every attention stands x -> x A^T B^T alpha / r; B begins at zero, so the
model begins as it was. The body is frozen, adapters and head are trained. What is kept are whole weights with the
adapters added, so a result is read like any other one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from uer_ds.config.finetune import LoraConfig
from uer_ds.errors import UserError
from uer_ds.finetune.metrics import needed
from uer_ds.finetune.model import TaskModel, file_name
from uer_ds.models.attention import MultiHeadedAttention
from uer_ds.models.dual import share_parameters
from uer_ds.models.weight_files import Source

PROJECTIONS = r".*\.linear_layers\.[02]"
"""Names of the query and value projections inside of a `MultiHeadedAttention`."""

DOWN, UP = ".lora_A.weight", ".lora_B.weight"
"""How the names of A [r, H] and B [H, r] end in files (`model.file_name`)."""


def add_adapters(model: TaskModel, config: LoraConfig, untrained: Iterable[str], seed: int) -> None:
    """Freeze the body of `model` and give it adapters, the same ones on every rank.

    `untrained`: names of what no file had, so it must be learnt whole. Raises UserError for a body without attention.
    """
    if not any(isinstance(module, MultiHeadedAttention) for module in model.body.modules()):
        raise UserError("--use_lora adapts the projections of attention, but this encoder has none; leave it out.")
    with needed("peft", "--use_lora needs"):
        import peft
    torch.manual_seed(seed)
    adapters = peft.LoraConfig(
        r=config.lora_r,
        lora_alpha=config.lora_alpha,  # type: ignore[arg-type]  # peft says int, but only divides it
        lora_dropout=config.lora_dropout,
        target_modules=PROJECTIONS,
    )
    peft.inject_adapter_in_model(adapters, model.body)  # also freezes whatever is no adapter
    _share_adapters(model.body)
    learnt = set(untrained)
    for name, parameter in model.body.named_parameters():
        if file_name(name) in learnt:
            parameter.requires_grad_(True)


def _share_adapters(body: nn.Module) -> None:
    """Projections of one weight, as in both streams of a tied pair, get one adapter: they are to remain the same."""
    firsts: dict[int, nn.Module] = {}
    for module in body.modules():
        base = getattr(module, "base_layer", None)
        if isinstance(base, nn.Linear):
            first = firsts.setdefault(id(base.weight), module)
            if first is not module:
                share_parameters(module, first)


def adapters_of(weights: Mapping[str, Tensor], config: LoraConfig) -> dict[str, Tensor]:
    """The adapters alone, B times alpha / r: what they add to a projection is B A."""
    scale = config.lora_alpha / config.lora_r
    found = {name: tensor for name, tensor in weights.items() if is_adapter(name)}
    return {name: tensor * scale if name.endswith(UP) else tensor for name, tensor in found.items()}


def merged(weights: Mapping[str, Tensor], adapters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Whole weights as a model without adapters has them: W + B A."""
    result = {name: tensor for name, tensor in weights.items() if name not in adapters}
    for name, up in adapters.items():
        if name.endswith(UP):
            projection = name.removesuffix(UP)
            result[f"{projection}.weight"] = result[f"{projection}.weight"] + up @ adapters[projection + DOWN]
    return result


def silent_adapters(shapes: Mapping[str, tuple[int, ...]]) -> Source:
    """Adapters that add nothing, beside weights that hold what they had learnt; `shapes` of all parameters by name."""
    return {
        file_name(name): partial(torch.zeros, shape) for name, shape in shapes.items() if is_adapter(file_name(name))
    }


def is_adapter(name: str) -> bool:
    """Whether a parameter with this name in files is part of an adapter."""
    return name.endswith((DOWN, UP))
