"""The state of an engine by parameter names, as it is read from DeepSpeed's files."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from uer_ds.errors import UserError
from uer_ds.storage.lazy import LazyTensor
from uer_ds.storage.zero_files import Spread, ZeroFile


@dataclass(frozen=True)
class ParameterState:
    """One trained parameter: its float32 weights, its optimizer's tensors (moments) and plain values (steps)."""

    master: Spread
    tensors: dict[str, Spread] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class EngineState:
    """What is in the folder of one checkpoint. `shared`: name of a tied parameter -> name of its owner."""

    stage: int
    ranks: int
    parameters: dict[str, ParameterState]
    frozen: dict[str, LazyTensor]
    shared: dict[str, str]
    loss_scale: dict[str, Any]
    counters: dict[str, int]


def is_vector(value: Any) -> bool:
    """Whether an entry of an optimizer's state belongs to the single weights."""
    return isinstance(value, torch.Tensor) and value.dim() > 0


def check_size(file: ZeroFile, key: str, found: int, expected: int) -> None:
    """Refuse a state that has not one number for each weight."""
    if found != expected:
        raise UserError(
            f"{file.path}: the optimizer's {key} holds {found} numbers for {expected} weights, so it cannot be divided "
            "anew; go on with the number of processes and the ZeRO stage that it was written with."
        )
