"""Models that are built straight into ZeRO-3's partitions, so that no rank ever holds a whole one.

Each part of a model is cut over the ranks as soon as it is built. Cost on every rank: its share of the weights, and the
largest single weight whole for a moment. The weights are those of a model built at once (`models.layers.draw`).
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import deepspeed
from torch import nn

from uer_ds.engine.ds_config import zero_stage
from uer_ds.errors import UserError

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Names of two settings of glibc's malloc (malloc.h)."""

_MIB = 2**20


@contextmanager
def partitioned(config: dict[str, Any], where: str) -> Iterator[None]:
    """Modules built inside the `with` block are cut over all ranks when the complete DeepSpeed JSON `config` says
    stage 3.

    Collective: all ranks build the same modules. `where` names the JSON in the UserError for what DeepSpeed refuses.
    """
    if zero_stage(config) < 3:
        yield
        return
    with refusals(where):
        context = deepspeed.zero.Init(config_dict_or_path=config)
    with _freed_at_once(), context:
        yield


@contextmanager
def gathered(parameters: list[nn.Parameter]) -> Iterator[None]:
    """Make `parameters` whole inside a `with` block; what rank 0 writes there is kept, on every rank.

    Collective where they are partitioned; otherwise it does nothing.
    """
    with _freed_at_once(), deepspeed.zero.GatheredParameters(parameters, modifier_rank=0):
        yield


@contextmanager
def _freed_at_once() -> Iterator[None]:
    """Inside the `with` block, pieces of 1 MiB or more go back to the system when they are freed.

    Whole weights come and go between partitions that stay. From the heap, as glibc takes pieces up to 32 MiB once such
    ones were freed, each would leave a hole that the next does not fit into, and a rank would hold more than the whole
    model. Afterwards the thresholds are what they end at by themselves in a process that works with large tensors:
    training must not ask the system for each of them. Another malloc is left alone.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        yield
        return
    mallopt(_MMAP_THRESHOLD, _MIB)
    mallopt(_TRIM_THRESHOLD, _MIB)
    try:
        yield
    finally:
        mallopt(_MMAP_THRESHOLD, 32 * _MIB)
        mallopt(_TRIM_THRESHOLD, 64 * _MIB)


def whole_size(parameter: nn.Parameter) -> int:
    """Elements of the whole `parameter`, also where this rank holds a part of it."""
    return int(getattr(parameter, "ds_numel", parameter.numel()))


@contextmanager
def refusals(where: str) -> Iterator[None]:
    """DeepSpeed's refusals of the configuration from the file `where`, as UserErrors."""
    try:
        yield
    except (deepspeed.runtime.config.DeepSpeedConfigError, AssertionError, ValueError) as error:
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise UserError(f"{where}: DeepSpeed refuses this configuration: {reason[:400]}.") from error
