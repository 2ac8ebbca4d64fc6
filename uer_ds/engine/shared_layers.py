"""`SharedLayers`: neighbouring processes share the matrices of each encoder layer (DeepSpeed's tensor parallelism).

DeepSpeed (AutoTP) is told our names: queries, keys, values and the first matrices of feed-forward layers are cut by
outputs, so each process has some of the heads and inner units; the matrices behind them are cut by inputs, and their
results are summed. Everything else, embedding and target among it, is whole on every process. T processes share a
layer; they work on the same samples.
"""

from __future__ import annotations

import re
from typing import Any

import torch
import torch.distributed as dist
from deepspeed.utils import groups
from torch import Tensor

BY_OUTPUTS = r"encoder\.(.*\.)?(self_attn\.linear_layers\.\d|feed_forward\.linear_(1|gate))\."
BY_INPUTS = r"encoder\.(.*\.)?(self_attn\.final_linear|feed_forward\.linear_2)\."
"""Beginnings of parameters' names."""


def tensor_parallel_section(processes: int) -> dict[str, Any]:
    """The section of a DeepSpeed JSON that lets `processes` processes share each layer."""
    specs = [
        {"patterns": [f"^{BY_OUTPUTS}weight$"], "partition_type": "column"},
        {"patterns": [f"^{BY_INPUTS}weight$"], "partition_type": "row"},
    ]
    return {"autotp_size": processes, "partition_config": {"use_default_specs": False, "layer_specs": specs}}


def cut_dimension(name: str) -> int | None:
    """The dimension by which the parameter `name` is cut; None: it is whole on every process."""
    if re.match(BY_OUTPUTS, name):
        return 0
    return 1 if re.match(f"{BY_INPUTS}weight$", name) else None


class SharedLayers:
    """Makes parameters whole again that `processes` processes share; with one process, all are.

    `engine` is DeepSpeed's. Its comparison of the ranks' first inputs is taken off: it knows no batches like ours, and
    the sampler sees to it that they are the same.
    """

    def __init__(self, engine: Any, processes: int):
        self._count = processes
        if processes > 1:
            self._group = groups.get_tensor_model_parallel_group()
            engine.first_dataloader_check.remove()

    def whole(self, name: str, part: Tensor) -> Tensor:
        """The parameter `name`, of which this process holds `part`. Collective."""
        dimension = cut_dimension(name)
        if self._count == 1 or dimension is None:
            return part
        parts = [torch.empty_like(part, memory_format=torch.contiguous_format) for _ in range(self._count)]
        dist.all_gather(parts, part.contiguous(), group=self._group)
        return torch.cat(parts, dim=dimension)

    def whole_shape(self, name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of `whole` where the part has `shape`."""
        dimension = cut_dimension(name)
        return tuple(size * self._count if place == dimension else size for place, size in enumerate(shape))
