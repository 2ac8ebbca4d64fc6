"""Matrix products of linear layers, by the library that is fastest on this processor.

torch multiplies float32 matrices on x86 by Intel's MKL, which was measured to leave half of full-width AVX-512 unused
on an AMD EPYC (bench/products.py). oneDNN, which torch ships too, does not: twice as fast there (a tenth where a core
makes AVX-512 in halves), in float32 throughout, with sums in another order. In bfloat16 torch takes oneDNN by itself,
but fills the result with the bias before, which oneDNN can add. The choice is made by the processor and not by a
stopwatch, so that a run that goes on there is the run that was never stopped, bit for bit. Regions that torch.compile
makes, and layers that others put in the place of ours (DeepSpeed's tensor parallelism, peft's adapters), stay with
torch's choice. N rows, I inputs, O outputs.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

MAKERS_OF_MKL = {"GenuineIntel"}


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x W^T + b, differentiable: [.., I], [O, I], [O] -> [.., O]"""
    if not (_by_onednn(x, weight) or (bias is not None and _saves_bias_pass(x, weight))):
        return F.linear(x, weight, bias)
    if not torch.is_grad_enabled():
        return _onednn(x, weight, bias)
    result: Tensor = _Linear.apply(x, weight, bias)
    return result


def matmul(left: Tensor, right: Tensor) -> Tensor:
    """left right, not differentiable: [N, I], [I, O] -> [N, O]"""
    return _onednn(left, right.T) if _by_onednn(left, right) else left @ right


def weight_gradient(upstream: Tensor, x: Tensor) -> Tensor:
    """upstream^T x, not differentiable: [N, O], [N, I] -> [O, I], contiguous"""
    if not _by_onednn(upstream, x):
        return upstream.T @ x
    if upstream.size(1) > x.size(1):  # oneDNN copies its transposed left side, so that is to be the smaller one
        return _onednn(x.T, upstream.T).T.contiguous()
    return _onednn(upstream.T, x.T)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        needs_x, needs_weight, _ = ctx.needs_input_grad
        ctx.save_for_backward(x if needs_weight else None, weight if needs_x else None)  # adapters freeze most weights
        ctx.shape = x.shape
        return _onednn(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        rows = upstream.reshape(-1, upstream.size(-1)).contiguous()  # of a sum all rows are one in memory
        x_grad = weight_grad = bias_grad = None
        if ctx.needs_input_grad[0]:
            x_grad = matmul(rows, weight).view(ctx.shape)
        if ctx.needs_input_grad[1]:
            weight_grad = weight_gradient(rows, x.reshape(-1, x.size(-1)))
        if ctx.needs_input_grad[2]:
            bias_grad = rows.sum(0)
        return x_grad, weight_grad, bias_grad


def _by_onednn(left: Tensor, right: Tensor) -> bool:
    return _on_cpu_as(torch.float32, left, right) and prefers_onednn()


def _saves_bias_pass(x: Tensor, weight: Tensor) -> bool:
    """Whether torch would take the same oneDNN product, but fill its result with the bias before, in a pass of its own.

    That pass costs 5 % of a product of small, and 15 % of the vocabulary's of tiny (bench/products.py).
    """
    return _on_cpu_as(torch.bfloat16, x, weight) and multiplies_bfloat16()


def _on_cpu_as(kind: torch.dtype, left: Tensor, right: Tensor) -> bool:
    return (
        not torch.compiler.is_compiling()
        and left.dtype == right.dtype == kind
        and left.device.type == "cpu"
        and left.numel() > 0
        and not torch.is_autocast_enabled("cpu")
    )


@cache
def multiplies_bfloat16() -> bool:
    """Whether oneDNN multiplies bfloat16 on this machine's CPU, as torch asks it."""
    return (
        _has_linear()
        and hasattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported")
        and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    )


@cache
def prefers_onednn() -> bool:
    """Whether float32 products on this machine's CPU are oneDNN's: AVX-512 of another maker than MKL's."""
    return torch.backends.cpu.get_cpu_capability() == "AVX512" and _has_linear() and _maker() not in MAKERS_OF_MKL


def _has_linear() -> bool:
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def _maker() -> str:
    """As Linux tells it; MKL's own where that is not told, which leaves the choice to torch."""
    try:
        found = re.search(r"^vendor_id\s*:\s*(\S+)", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else "GenuineIntel"


def _onednn(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The operator that torch's own compiler uses on CPUs: [.., I], [O, I] -> [.., O]"""
    result: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return result
