"""What `--deep_init` changes in initial weights, and which weights decay: decided by what a part is, not by its name.

Every part draws its own initial weights when it is built (`layers.draw`).
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn

from uer_ds.models.layers import INIT_STD, LayerNorm, Linear, RmsNorm, draw
from uer_ds.models.transformer import Stack

Gather = Callable[[list[nn.Parameter]], AbstractContextManager[Any]]
"""Makes partitioned parameters whole inside a `with` block (ZeRO-3); what is written there is kept."""


def whole(parameters: list[nn.Parameter]) -> AbstractContextManager[Any]:
    """The `Gather` of parameters that are not partitioned."""
    return contextlib.nullcontext()


def shrink_branches(model: nn.Module, gather: Gather = whole) -> None:
    """`--deep_init`: what ends a residual branch is drawn anew from N(0, 0.02 / sqrt(2 L)), and its bias is 0.

    L is the number of layers of its stack.
    """
    for stack in model.modules():
        if isinstance(stack, Stack):
            for module in stack.modules():
                if isinstance(module, Linear) and module.ends_branch:
                    _shrink(module, INIT_STD / math.sqrt(2.0 * stack.depth), gather)


@torch.no_grad()
def _shrink(linear: Linear, std: float, gather: Gather) -> None:
    with gather(list(linear.parameters(recurse=False))):
        draw(linear.weight, std)
        if linear.bias is not None:
            linear.bias.zero_()


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
