"""A checkpoint as a mapping from names to tensors that are read only when asked for.

Every step of a conversion (renaming, transposing, folding, tying) maps one such mapping to another, so a model of any
size is converted one tensor at a time: nothing is read before the file is written. Two names that hold the same
`LazyTensor` object are tied. Shapes of results are found on torch's meta device, without data.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

Tensors = tuple[torch.Tensor, ...]


@dataclass(frozen=True, eq=False)
class LazyTensor:
    """Shape and dtype of a tensor, and how to get its values (freshly read at every call)."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    read: Callable[[], torch.Tensor]

    @property
    def size(self) -> int:
        """Number of elements."""
        return torch.Size(self.shape).numel()

    @property
    def bytes(self) -> int:
        """Size of the values in bytes."""
        return self.size * self.dtype.itemsize

    def map(self, function: Callable[[torch.Tensor], torch.Tensor]) -> LazyTensor:
        """The tensor that `function` makes of this one."""
        return combine((self,), lambda tensor: (function(tensor),))[0]


TensorMap = Mapping[str, LazyTensor]


def combine(inputs: tuple[LazyTensor, ...], function: Callable[..., Tensors]) -> tuple[LazyTensor, ...]:
    """The results of `function(*inputs)`; each reads the inputs again when it is read."""
    shapes = function(*(torch.empty(item.shape, dtype=item.dtype, device="meta") for item in inputs))

    def reader(index: int) -> Callable[[], torch.Tensor]:
        return lambda: function(*(item.read() for item in inputs))[index].contiguous()

    return tuple(LazyTensor(tuple(meta.shape), meta.dtype, reader(index)) for index, meta in enumerate(shapes))


def _constant(tensor: torch.Tensor) -> Callable[[], torch.Tensor]:
    return lambda: tensor


def in_memory(tensors: Mapping[str, torch.Tensor]) -> dict[str, LazyTensor]:
    """A `TensorMap` over tensors that are in memory already; those that share their memory stay tied."""
    made: dict[tuple[object, ...], LazyTensor] = {}
    result = {}
    for name, tensor in tensors.items():
        memory = tensor.data_ptr() or id(tensor)  # tensors without elements have no memory
        key = (memory, tensor.dtype, tensor.shape, tensor.stride())
        if key not in made:
            made[key] = LazyTensor(tuple(tensor.shape), tensor.dtype, _constant(tensor.detach()))
        result[name] = made[key]
    return result


def raw_bytes(tensor: LazyTensor) -> memoryview:
    """The values of a tensor as they stand in a file (little-endian)."""
    values = tensor.read().cpu().contiguous().flatten()
    return values.view(torch.uint8).numpy().data if values.numel() else memoryview(b"")


def checksum(tensor: LazyTensor) -> str:
    """SHA-256 of the values."""
    return hashlib.sha256(raw_bytes(tensor)).hexdigest()


def same_values(first: LazyTensor, second: LazyTensor) -> bool:
    """Whether two tensors are equal bit for bit (NaNs included); only one at a time is in memory."""
    if first is second:
        return True
    if first.shape != second.shape or first.dtype != second.dtype:
        return False
    return checksum(first) == checksum(second)
