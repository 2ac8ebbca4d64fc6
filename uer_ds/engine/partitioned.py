"""Models that are built straight into ZeRO-3's partitions, so that no rank ever holds a whole one.

Each part of a model is cut over the ranks as soon as it is built. Cost on every rank: its share of the weights, and the
largest single weight whole for a moment. The weights are those of a model built at once (`models.layers.draw`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import deepspeed
import torch.distributed as dist
import torch.nn.functional as F
from deepspeed.runtime.zero.partition_parameters import InsertPostInitMethodToModuleSubClasses
from torch import Tensor, nn

from uer_ds.engine.ds_config import zero_stage
from uer_ds.engine.malloc import freed_at_once
from uer_ds.errors import UserError


@contextmanager
def partitioned(config: dict[str, Any], where: str) -> Iterator[None]:
    """Modules built inside the `with` block are cut over all ranks when the complete DeepSpeed JSON `config` says
    stage 3.

    Collective: all ranks build the same modules. `where` names the JSON in the UserError for what DeepSpeed refuses.
    """
    if zero_stage(config) < 3:
        _forget_linear()
        yield
        return
    with refusals(where):
        context = deepspeed.zero.Init(config_dict_or_path=config)
    with freed_at_once(), context:
        yield


def _forget_linear() -> None:
    """Put torch's own `F.linear` back, which `deepspeed.zero.Init` replaces for the rest of the process.

    A model that is not partitioned would take DeepSpeed's too, whose gradients, where torch 2.11 compiles it, have
    bfloat16's precision.
    """
    F.linear = getattr(InsertPostInitMethodToModuleSubClasses, "linear_bk", F.linear)


@contextmanager
def gathered(parameters: list[nn.Parameter]) -> Iterator[None]:
    """Make `parameters` whole inside a `with` block; what rank 0 writes there is kept, on every rank.

    Collective where they are partitioned; otherwise it does nothing.
    """
    with freed_at_once(), deepspeed.zero.GatheredParameters(parameters, modifier_rank=0):
        yield


def wished_by_all(wish: Tensor) -> bool:
    """Whether every rank's `wish`, one boolean, is true. Collective: ranks whose weights are partitioned must make the
    same number of forward passes."""
    wishes = wish.int()
    if dist.is_initialized():
        dist.all_reduce(wishes, dist.ReduceOp.MIN)
    return bool(wishes)


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
