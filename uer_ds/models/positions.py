"""Positions as arithmetic: T5's relative bias, rotary angles, sinusoids.

B rows, S tokens, A heads, D width of a head.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from uer_ds.models.layers import Table

MAX_DISTANCE = 128
"""Distances from here on share the last bucket of the relative position bias (T5)."""


class BiasTable(Table):
    """A table of numbers that are added to scores; like other biases it does not decay."""

    bias_names = ("weight",)


class RelativePositionBias(nn.Module):
    """T5's bias: a learned score for each head and each bucket of distances.

    It depends on the difference of the two places in the row. Inside a document that is the difference of positions,
    and pairs across documents are hidden, so packed rows need no table of their own. `scale`: factor on what is
    returned.
    """

    def __init__(self, heads_num: int, buckets_num: int = 32, bidirectional: bool = True, scale: float = 1.0):
        super().__init__()
        self.scale = scale
        self.relative_attention_bias = BiasTable(buckets_num, heads_num)
        self.buckets_num = buckets_num
        self.bidirectional = bidirectional

    def forward(self, length: int, device: torch.device, queries: int | None = None) -> Tensor:
        """The bias of a row of `length` tokens: [1, A, S, S]; or of its last `queries` tokens only, [1, A, Q, S]."""
        places = torch.arange(length, device=device)
        asking = places[length - (length if queries is None else queries) :]
        buckets = relative_buckets(places - asking[:, None], self.buckets_num, self.bidirectional)  # [Q, S]
        return self.relative_attention_bias(buckets).permute(2, 0, 1).unsqueeze(0) * self.scale


def relative_buckets(distance: Tensor, buckets_num: int, bidirectional: bool) -> Tensor:
    """Bucket of each distance (key place minus query place): exact for near ones, logarithmic up to `MAX_DISTANCE`."""
    offset = torch.zeros_like(distance)
    if bidirectional:
        buckets_num //= 2
        offset = (distance > 0) * buckets_num
        distance = distance.abs()
    else:
        distance = (-distance).clamp(min=0)
    exact = buckets_num // 2
    ratio = torch.log(distance.clamp(min=1).float() / exact) / math.log(MAX_DISTANCE / exact)
    far = (exact + (ratio * (buckets_num - exact)).long()).clamp(max=buckets_num - 1)
    return offset + torch.where(distance < exact, distance, far)


def rotation_angles(positions: Tensor, head_size: int, theta: float = 10000.0) -> Tensor:
    """Angles of rotary position embedding: [.., S] positions -> [.., S, D / 2] float32."""
    exponents = torch.arange(0, head_size, 2, device=positions.device, dtype=torch.float32) / head_size
    return positions.float().unsqueeze(-1) * theta**-exponents


def rotate(heads: Tensor, angles: Tensor) -> Tensor:
    """Turn each pair (2i, 2i + 1) of `heads` [B, S, A, D] by `angles` [1 or B, S, 1, D / 2], in float32.

    This is Meta's order; Hugging Face pairs (i, i + D / 2).
    """
    even, odd = heads.float().unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = angles.cos(), angles.sin()
    turned = torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1)
    return turned.flatten(-2).to(heads.dtype)


def sinusoids(positions: Tensor, width: int, layout: str) -> Tensor:
    """Vectors of `positions` [..]: [.., width] float32; see `SinusoidalEmbedding`. `width` is even."""
    half = width // 2
    steps = half - 1 if layout == "uer" else half
    frequencies = torch.exp(torch.arange(half, device=positions.device) * (-math.log(10000.0) / max(steps, 1)))
    shift = 2 if layout == "uer" else 0
    angles = (positions + shift).float().unsqueeze(-1) * frequencies  # [.., half]
    if layout == "halves":
        return torch.cat((angles.sin(), angles.cos()), dim=-1)
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(-2)
