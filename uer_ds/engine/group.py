"""`Group`: how the processes of a run agree about small facts (label counts, stop wishes).

It travels over gloo and CPU tensors, so that agreeing never waits for a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist

from uer_ds.errors import UserError
from uer_ds.launch.place import Place

T = TypeVar("T")


class Group:
    """All processes of a run, talking about small things. Every method is collective: all ranks call it, in the same
    order."""

    def __init__(self, place: Place, timeout: timedelta):
        self.place = place
        gloo_is_default = dist.get_backend() == "gloo"
        self._group = None if gloo_is_default else dist.new_group(backend="gloo", timeout=timeout)

    def sum(self, values: Sequence[float] | torch.Tensor) -> torch.Tensor:
        """Element-wise sum over all ranks, float64 on the CPU. Integers up to 2**53 stay exact."""
        total = torch.as_tensor(values, dtype=torch.float64).cpu().clone()
        if self.place.world_size > 1:
            dist.all_reduce(total, group=self._group)
        return total

    def on_first(self, work: Callable[[], T]) -> T:
        """Let rank 0 do `work`; every rank gets its result, or its `UserError`. Nobody waits for a rank that failed."""
        result, mistake = None, None
        if self.place.is_first:
            try:
                result = work()
            except UserError as error:
                mistake = str(error)
        result, mistake = self.broadcast((result, mistake))
        if mistake is not None:
            raise UserError(mistake)
        return result  # type: ignore[return-value]

    def gather_everywhere(self, value: T) -> list[T]:
        """Every rank's value, on every rank, in the order of the ranks."""
        if self.place.world_size == 1:
            return [value]
        box: list[T | None] = [None] * self.place.world_size
        dist.all_gather_object(box, value, group=self._group)
        return box  # type: ignore[return-value]

    def barrier(self) -> None:
        """Wait until all ranks are here."""
        if self.place.world_size > 1:
            dist.barrier(group=self._group)

    def broadcast(self, value: T) -> T:
        """Rank 0's value, on every rank."""
        if self.place.world_size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, group=self._group)
        return box[0]

    def gather(self, value: T) -> list[T] | None:
        """The values of all ranks in their order, on rank 0; None on the others."""
        if self.place.world_size == 1:
            return [value]
        parts: list[T] | None = [value] * self.place.world_size if self.place.is_first else None
        dist.gather_object(value, parts, dst=0, group=self._group)
        return parts
