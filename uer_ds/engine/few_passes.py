"""ZeRO stages 1 and 2 with fewer passes over gradients and weights around an update; the arithmetic stays.

DeepSpeed 0.19 copies every gradient into a bucket to average it, looks for infinities in one pass, converts to float32
for the norm in a second, joins in a third and converts again in a fourth. On a CPU each pass costs about as much as a
hundredth of an update of a small model, and new memory for it several times that. So here

* a process that is alone averages nothing and copies nothing for it,
* infinities are found by the norm, which they make infinite or NaN,
* on the CPU gradients go into one float32 buffer that is kept (4 bytes for each weight of this process's part), whose
  norm is taken and which the optimizer reads,
* on CPUs the parts of updated weights are sent where they belong: gloo's own gathering copies everything three times.
"""

from __future__ import annotations

from typing import Any

import torch
from deepspeed import comm
from deepspeed.runtime.zero import stage_1_and_2
from deepspeed.runtime.zero.stage_1_and_2 import DeepSpeedZeroOptimizer, GradPartitionBufferGroup
from torch import Tensor


def spare_passes(optimizer: Any, world_size: int) -> None:
    """Change the optimizer of a DeepSpeed engine so; others than stages 1 and 2 in memory are left alone."""
    if not isinstance(optimizer, DeepSpeedZeroOptimizer) or optimizer.cpu_offload or optimizer.overlap_comm:
        return
    if world_size > 1 and optimizer.device == "cpu":
        stage_1_and_2.all_gather_dp_groups = gather_in_place
    if world_size == 1 and not optimizer.use_grad_accum_attribute:
        optimizer.contiguous_gradients = False
        optimizer.buffered_reduce_fallback = lambda *_, **__: None
    if not (optimizer.compute_grad_norm and optimizer.check_grad_overflow):
        return
    optimizer.check_overflow = lambda *_, **__: None
    if optimizer.device == "cpu" and optimizer.model_parallel_world_size == 1:
        optimizer.scaled_global_norm = FlatGradients(optimizer).norm


def gather_in_place(
    groups_flat: list[Tensor],
    partitioned_param_groups: list[list[Tensor]],
    dp_process_group: list[Any],
    **sizes_of_pieces: int,
) -> None:
    """Make each flat group of weights whole on all processes, each of which has its own part up to date.

    In the place of DeepSpeed's `all_gather_dp_groups`; the parts are views of the groups.
    """
    sent = [
        comm.broadcast(part, comm.get_global_rank(group, rank), group=group, async_op=True)
        for parts, group in zip(partitioned_param_groups, dp_process_group, strict=True)
        for rank, part in enumerate(parts)
    ]
    for work in sent:
        work.wait()


class FlatGradients:
    """The gradients of this process's part of the weights, by parameter group, in float32 and in memory that stays."""

    def __init__(self, optimizer: DeepSpeedZeroOptimizer):
        self._optimizer = optimizer
        self._buffers: dict[int, Tensor] = {}

    @torch.no_grad()
    def norm(self) -> Tensor:
        """The L2 norm of all processes' gradients, times the loss scale; infinite or NaN where one of them is."""
        squares = torch.zeros((), dtype=torch.float64)
        gradients = self._optimizer.averaged_gradients
        for number in range(len(self._optimizer.bit16_groups)):
            flat = self._joined(number, gradients[number])
            gradients[number] = GradPartitionBufferGroup([flat], flat)
            squares += torch.linalg.vector_norm(flat).double().square()
        comm.all_reduce(squares, group=self._optimizer.dp_process_group)
        return squares.sqrt().float()

    def _joined(self, number: int, pieces: list[Tensor]) -> Tensor:
        buffer = self._buffers.get(number)
        if buffer is None:
            size = int(self._optimizer.partition_size[number])
            buffer = self._buffers[number] = torch.zeros(size, dtype=torch.float32)
        start = 0
        for piece in pieces:
            buffer[start : start + piece.numel()].copy_(piece.reshape(-1))
            start += piece.numel()
        buffer[start:].zero_()
        return buffer
