"""Measuring: the two planes on which ranks talk, matrix products, and what this installation can compile."""

from __future__ import annotations

import time

import torch
import torch.distributed as dist
from deepspeed.accelerator import get_accelerator
from deepspeed.ops.op_builder import AsyncIOBuilder

from uer_ds.engine.group import Group
from uer_ds.engine.machine import device
from uer_ds.models.products import matmul

ROUNDS = 5


def can_do_aio() -> bool:
    """Whether DeepSpeed finds libaio, which offloading to NVMe needs."""
    return bool(AsyncIOBuilder().is_compatible(verbose=False))


def backend() -> str:
    """The library that carries gradients: gloo, nccl, ..."""
    return dist.get_backend()


def all_reduce(group: Group, megabytes: int) -> tuple[bool, float]:
    """Sum `megabytes` of float32 over all ranks as gradients are summed; collective.

    Returns whether the sum is right here, and bytes a second over each link (2 (n - 1) / n of the data pass it).
    """
    place = group.place
    data = torch.full((megabytes * 2**18,), float(place.rank + 1), device=device())
    expected = place.world_size * (place.world_size + 1) / 2
    dist.all_reduce(data)
    right = bool((data == expected).all())
    group.barrier()
    began = time.perf_counter()
    for _ in range(ROUNDS):
        dist.all_reduce(data)
    get_accelerator().synchronize()
    seconds = (time.perf_counter() - began) / ROUNDS
    share = 2 * (place.world_size - 1) / place.world_size
    return right, share * data.numel() * data.element_size() / seconds


def latency(group: Group) -> float:
    """Seconds that agreeing on a few numbers takes; collective."""
    group.sum([0.0])
    began = time.perf_counter()
    for _ in range(4 * ROUNDS):
        group.sum([0.0])
    return (time.perf_counter() - began) / (4 * ROUNDS)


GEMM_SIZES = {"cpu": (1024, 2048, 4096)}
OTHER_GEMM_SIZES = (4096, 8192)


def gemm_rate(dtype: torch.dtype, seconds: float = 1.0) -> float:
    """Operations a second of plain square products, as models make them, the best size: the limit of training here."""
    where, best = device(), 0.0
    for size in GEMM_SIZES.get(where.type, OTHER_GEMM_SIZES):
        a, b = (torch.randn(size, size, device=where).to(dtype) for _ in range(2))
        matmul(a, b)
        get_accelerator().synchronize()
        runs, began = 0, time.perf_counter()
        while runs < ROUNDS or time.perf_counter() - began < seconds:
            matmul(a, b)
            get_accelerator().synchronize()
            runs += 1
        best = max(best, 2.0 * size**3 * runs / (time.perf_counter() - began))
    return best
