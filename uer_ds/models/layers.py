"""The small parts that every model is made of: matrices, tables, norms, activations, feed-forward layers.

Parameter names are UER-py's (`gamma`, `beta`, `linear_1`, ...). Each part draws its own initial values in
`reset_parameters`, so that a model is ready the moment it is built, also when each part is partitioned as soon as it
exists. B rows, S tokens, H width of the layers, F inner width of the feed-forward layer.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import repeat

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from uer_ds.models.products import linear

INIT_STD = 0.02
"""Standard deviation of all initial weights (BERT's and UER-py's)."""

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_fast": partial(F.gelu, approximate="tanh"),
    "relu": F.relu,
    "silu": F.silu,
    "linear": lambda x: x,
}


PIECE = 2**22
"""Weights drawn at a time on one thread: what a weight that is not float32 costs besides itself, 16 MiB a thread."""


@torch.no_grad()
def draw(weight: Tensor, std: float = INIT_STD) -> None:
    """Fill `weight` with N(0, std) on the CPU, in float32 and then rounded, as torch's generator says.

    So a seed gives the same numbers on every device, in every type, on any number of threads and under every ZeRO
    stage. Weights on the meta device stay as they are and take nothing from the generator.
    """
    if weight.is_meta:
        return
    pieces = weight.view(-1).split(PIECE)
    seeds = torch.randint(2**62, (len(pieces),), device="cpu").tolist()
    if len(pieces) == 1:
        _draw_piece(pieces[0], seeds[0], std)
        return
    with ThreadPoolExecutor(torch.get_num_threads()) as threads:
        list(threads.map(_draw_piece, pieces, seeds, repeat(std)))  # list: raises what a thread has raised


@torch.no_grad()  # holds for one thread only
def _draw_piece(piece: Tensor, seed: int, std: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    if piece.device.type == "cpu" and piece.dtype == torch.float32:
        piece.normal_(std=std, generator=generator)
        return
    # not `torch.empty`: DeepSpeed gives that the type of the model while a model is built into partitions
    numbers = piece.new_empty(piece.shape, dtype=torch.float32, device="cpu")
    piece.copy_(numbers.normal_(std=std, generator=generator))


class Linear(nn.Linear):
    """y = x W^T + b. `ends_branch` marks the last matrix before a residual sum, which `--deep_init` makes smaller."""

    def __init__(self, in_features: int, out_features: int, bias: bool = True, ends_branch: bool = False):
        super().__init__(in_features, out_features, bias)
        self.ends_branch = ends_branch

    def reset_parameters(self) -> None:
        """N(0, 0.02) for weight and bias, as UER-py."""
        draw(self.weight)
        if self.bias is not None:
            draw(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """[.., in_features] -> [.., out_features]"""
        return linear(x, self.weight, self.bias)


class Table(nn.Embedding):
    """Rows looked up by id: [..] int64 -> [.., width]."""

    def reset_parameters(self) -> None:
        """N(0, 0.02)."""
        draw(self.weight)


class LayerNorm(nn.Module):
    """The standard layer norm: biased variance, epsilon under the root."""

    def __init__(self, size: int, eps: float = 1e-6):
        super().__init__()
        self.eps = eps
        self.gamma = nn.Parameter(torch.empty(size))
        self.beta = nn.Parameter(torch.empty(size))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """The identity: scale 1, shift 0."""
        nn.init.ones_(self.gamma)
        nn.init.zeros_(self.beta)

    def forward(self, x: Tensor) -> Tensor:
        """[.., size] -> [.., size]"""
        return F.layer_norm(x, self.gamma.shape, self.gamma, self.beta, self.eps)


class UerLayerNorm(LayerNorm):
    """UER-py's layer norm: unbiased standard deviation, epsilon added to it. For weights that were trained with it."""

    def forward(self, x: Tensor) -> Tensor:
        """[.., size] -> [.., size]"""
        wide = x.float()
        std, mean = torch.std_mean(wide, dim=-1, keepdim=True)
        return ((wide - mean) / (std + self.eps)).to(x.dtype) * self.gamma + self.beta


class RmsNorm(nn.Module):
    """The norm of T5 and LLaMA: no mean, no shift; computed in float32."""

    def __init__(self, size: int, eps: float = 1e-6):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.empty(size))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """The identity: scale 1."""
        nn.init.ones_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        """[.., size] -> [.., size]"""
        wide = x.float()
        normed = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)
        return normed.to(x.dtype) * self.weight


NORMS: dict[str, type[LayerNorm] | type[RmsNorm]] = {
    "normal": LayerNorm,
    "uer": UerLayerNorm,
    "t5": RmsNorm,
    "rms": RmsNorm,
}


def build_norm(kind: str, size: int, eps: float) -> nn.Module:
    """The norm called `kind` in a model JSON."""
    return NORMS[kind](size, eps)


def centred(kind: str) -> str:
    """The norm of embeddings and heads in a model whose layers have `kind`: these never are of T5's kind."""
    return kind if kind in ("normal", "uer") else "normal"


class FeedForward(nn.Module):
    """Two matrices with an activation between them; gated: linear_2(act(linear_gate x) * linear_1 x)."""

    def __init__(self, hidden_size: int, inner_size: int, activation: str, gated: bool = False, bias: bool = True):
        super().__init__()
        if gated:
            self.linear_gate = Linear(hidden_size, inner_size, bias)
        self.linear_1 = Linear(hidden_size, inner_size, bias)
        self.linear_2 = Linear(inner_size, hidden_size, bias, ends_branch=True)
        self.gated = gated
        self.activation = ACTIVATIONS[activation]

    def forward(self, hidden: Tensor) -> Tensor:
        """[B, S, H] -> [B, S, H]"""
        if self.gated:
            inner = self.activation(self.linear_gate(hidden)) * self.linear_1(hidden)  # [B, S, F]
        else:
            inner = self.activation(self.linear_1(hidden))  # [B, S, F]
        return self.linear_2(inner)
