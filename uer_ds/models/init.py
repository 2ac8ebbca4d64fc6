"""Initial weights, and which of them decay: decided by what a part is, never by its name."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn

from uer_ds.models.layers import LayerNorm, Linear, RmsNorm
from uer_ds.models.transformer import Stack

Gather = Callable[[list[nn.Parameter]], AbstractContextManager[Any]]
"""Makes partitioned parameters whole inside a `with` block (ZeRO-3); what is written there is kept."""


def whole(parameters: list[nn.Parameter]) -> AbstractContextManager[Any]:
    """The `Gather` of parameters that are not partitioned."""
    return contextlib.nullcontext()


def initialise(model: nn.Module, deep_init: bool = False, gather: Gather = whole) -> None:
    """Draw all weights anew from torch's generator, part by part in the order of `model.modules()`.

    Matrices, tables and biases: N(0, 0.02); norms: 1 and 0. `deep_init`: the matrices that end a residual branch get
    N(0, 0.02 / sqrt(2 L)) and no bias, where L is the number of layers of their stack.
    """
    for module in model.modules():
        reset = getattr(module, "reset_parameters", None)
        if reset is not None:
            with gather(list(module.parameters(recurse=False))):
                reset()
    for stack in model.modules():
        if deep_init and isinstance(stack, Stack):
            _shrink_branches(stack, gather)


@torch.no_grad()
def _shrink_branches(stack: Stack, gather: Gather) -> None:
    for module in stack.modules():
        if isinstance(module, Linear) and module.ends_branch:
            with gather(list(module.parameters(recurse=False))):
                module.weight.mul_(1.0 / math.sqrt(2.0 * stack.depth))
                if module.bias is not None:
                    module.bias.zero_()


def decays(model: nn.Module) -> dict[str, bool]:
    """Parameter name -> whether weight decay applies: to matrices and tables, not to biases and norms.

    Tied parameters appear once, under their first name, as in `named_parameters()`.
    """
    result: dict[str, bool] = {}
    for prefix, module in model.named_modules():
        for name, _ in module.named_parameters(prefix, recurse=False):
            result[name] = not isinstance(module, (LayerNorm, RmsNorm)) and not _is_bias(module, name)
    return {name: result[name] for name, _ in model.named_parameters()}


def _is_bias(module: nn.Module, name: str) -> bool:
    """A bias is called so, or is among the `bias_names` of its module."""
    own_name = name.rpartition(".")[2]
    return own_name.startswith("bias") or own_name in getattr(module, "bias_names", ())
