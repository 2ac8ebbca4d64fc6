"""torch.compile for the parts of a model where it pays: what stands between matrix products and attention.

Only such regions are compiled, not the model, so nothing is compiled again for another row length, and all layers share
what was compiled for one. Attention chooses its kernels by the contents of a batch, which a compiler cannot know.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from uer_ds.models.dropout import keep_mask
from uer_ds.models.targets import MlmTarget
from uer_ds.models.transformer_layers import TransformerDecoderLayer, TransformerLayer

REGIONS: dict[type[nn.Module], str] = {
    TransformerLayer: "finish",
    TransformerDecoderLayer: "finish",
    MlmTarget: "inner",
}
"""Part of a model -> its method that is compiled."""


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


def compile_regions(model: nn.Module, backend: str = "inductor") -> int:
    """Compile the regions of `model` when they first run, for all sizes; returns how many there are.

    Not for parameters that are partitioned (ZeRO-3), which a compiled region would read before they are gathered.
    """
    found = 0
    for module in model.modules():
        for kind, name in REGIONS.items():
            if isinstance(module, kind):
                method: Any = getattr(module, name)
                setattr(module, name, torch.compile(method, dynamic=True, backend=backend))
                found += 1
    return found
