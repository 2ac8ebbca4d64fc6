"""Dropout. On the CPU its own way of drawing: torch's costs more there than the matrix products around it.

A few bits of torch's generator decide about each element, so it is kept with a probability that is a multiple of 2^-8,
or of 2^-16 where that would be off by more than a fiftieth: about ten times faster than `bernoulli_` on one core, and
reproducible like all draws of torch. The factor of the kept ones is that of the real probability.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

KINDS = {2**8: torch.int8, 2**16: torch.int16}
"""Different values of the bits that decide about one element -> their type."""
TOLERANCE = 1 / 50
"""How far, as a share, the real probability may be from the wanted one."""


def dropout(x: Tensor, probability: float, training: bool) -> Tensor:
    """Zero elements of `x` with `probability` and scale up the others; the identity outside of training."""
    if not training or probability == 0.0:
        return x
    if x.device.type != "cpu":
        return F.dropout(x, probability)
    if torch.compiler.is_compiling():
        kept = torch.ops.uer_ds.keep_mask_of(x, probability)
    else:
        kept = keep_mask(x.shape, probability)
    return x * noise(kept, probability, x.dtype)


def keep_mask(shape: torch.Size | tuple[int, ...], probability: float) -> Tensor:
    """bool of `shape` on the CPU, False with `probability`."""
    size, (dropped, levels) = torch.Size(shape).numel(), _share(probability)
    kind = KINDS[levels]
    words = -(-size * kind.itemsize // 8)
    bits = torch.empty(words, dtype=torch.int64).random_(-(2**63), None).view(kind)[:size]
    return (bits >= dropped - levels // 2).view(shape)


def _keep_mask_of(x: Tensor, probability: float) -> Tensor:
    return keep_mask(x.shape, probability).view(torch.int8)  # inductor of torch 2.11 cannot view bool as something else


# For torch.compile, which cannot look into the drawing of bits. It takes the tensor and not its shape: the compiler
# takes two calls with the same arguments for one, whatever their tags say, and two dropouts of a layer would be one.
torch.library.define(
    "uer_ds::keep_mask_of", "(Tensor x, float probability) -> Tensor", tags=torch.Tag.nondeterministic_seeded
)
torch.library.impl("uer_ds::keep_mask_of", "cpu", _keep_mask_of)


@torch.library.register_fake("uer_ds::keep_mask_of")
def _(x: Tensor, probability: float) -> Tensor:
    return x.new_empty(x.shape, dtype=torch.int8)


def noise(kept: Tensor, probability: float, dtype: torch.dtype) -> Tensor:
    """The factors that belong to a `keep_mask`: 0, or what keeps the mean."""
    dropped, levels = _share(probability)
    factor = levels / (levels - dropped)
    return kept.view(torch.int8).to(dtype).mul_(factor)  # from int8: four times faster than from bool


def _share(probability: float) -> tuple[int, int]:
    """(n, of): n of so many values of the bits drop an element."""
    for levels in KINDS:
        dropped = min(round(probability * levels), levels - 1)
        if abs(dropped / levels - probability) <= TOLERANCE * probability:
            break
    return dropped, levels
