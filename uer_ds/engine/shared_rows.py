"""`SharedRows`: neighbouring processes share each row, so that rows may be as long as all of them together can hold.

DeepSpeed's Ulysses (Jacobs et al. 2023): outside attention every process works on its own S / P tokens; for attention
the processes exchange tokens for heads, each sees whole rows with A / P of the heads, and they exchange back. To the
rest of DeepSpeed, which averages gradients over all processes, a part of a row is what a whole row is: its loss is a
share of the update's loss. B rows, S tokens of a whole row, P processes that share it, A heads, D width of a head.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from deepspeed.sequence.layer import DistributedAttention
from torch import Tensor

from uer_ds.launch.place import Place
from uer_ds.models.attention import WholeRows, attend
from uer_ds.models.visibility import Visibility


class SharedRows(WholeRows):
    """Rows of which the process `place` holds part `place.rank % processes`, its neighbours the others.

    Costs four exchanges of activations [B, S / P, A, D] for each layer, and as many backward.
    """

    def __init__(self, place: Place, processes: int):
        """Collective over all processes of the run."""
        self._number, self._count = place.rank % processes, processes
        self._group, _ = dist.new_subgroups(group_size=processes)
        self._exchanging = DistributedAttention(attend, self._group, scatter_idx=2, gather_idx=1)

    def whole(self, values: Tensor) -> Tensor:
        """[B, S / P] -> [B, S]"""
        parts = [torch.empty_like(values, memory_format=torch.contiguous_format) for _ in range(self._count)]
        dist.all_gather(parts, values.contiguous(), group=self._group)
        return torch.cat(parts, dim=1)

    def own_heads(self, bias: Tensor) -> Tensor:
        """[1, A, S, S] -> [1, A / P, S, S]"""
        return bias.chunk(self._count, dim=1)[self._number]

    def attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        visibility: Visibility,
        scale: float,
        bias: Tensor | None = None,
        dropout: float = 0.0,
    ) -> Tensor:
        """[B, S / P, A, D] three times, bias [1 or B, A / P, S, S] -> [B, S / P, A, D]"""
        rows_first, no_rotation = 0, None
        return self._exchanging(
            query, key, value, rows_first, no_rotation, visibility, scale, bias=bias, dropout=dropout
        )
