"""Which numbers of which parameter this rank holds, and filling them from a checkpoint of any layout.

A `Fragment` is this rank's part of one parameter: a view of its float32 weights, and where it stands in the tensor that
the optimizer keeps its state by. With it, loading is the same for all stages: every rank reads its own parts from the
files (`uer_ds.storage.zero`), and no rank ever holds more than one of them in addition to its own memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import deepspeed
import torch
from torch import Tensor, nn

from uer_ds.errors import UserError
from uer_ds.storage.zero_state import EngineState, ParameterState


@dataclass(frozen=True)
class Fragment:
    """This rank's part of the parameter `name`.

    Attributes:
        master: its float32 weights [n], a view of the optimizer's memory.
        key: the tensor under which the optimizer keeps the state of these weights.
        place: where the part begins in `key`.
        start: where the part begins in the flattened parameter.
    """

    name: str
    master: Tensor
    key: Tensor
    place: int
    start: int

    def of_state(self, value: Tensor) -> Tensor:
        """This part of a state tensor that has the shape of `key`."""
        return value.view(-1).narrow(0, self.place, len(self.master))


def fragments(engine: Any) -> Iterator[Fragment]:
    """This rank's parts of all trained parameters of a DeepSpeed engine; not for weights swapped to NVMe."""
    stage = engine.zero_optimization_stage()
    masters = {} if stage else _plain_masters(engine)
    for name, parameter in engine.module.named_parameters():
        if not parameter.requires_grad:
            continue
        if stage == 0:
            master = masters[parameter]
            yield Fragment(name, master.data.view(-1), master, 0, 0)
        elif stage == 3:
            yield from _stage_3(engine.optimizer, name, parameter)
        else:
            yield from _stages_1_and_2(engine.optimizer, name, parameter)


def _plain_masters(engine: Any) -> dict[Tensor, Tensor]:
    """Stage 0: parameter -> its float32 weights, which are the parameter itself unless it is rounded."""
    if hasattr(engine.optimizer, "fp32_groups"):
        return dict(_rounded_pairs(engine.optimizer))
    if not (engine.bfloat16_enabled() or engine.fp16_enabled()):
        return {parameter: parameter for parameter in engine.module.parameters()}
    raise UserError(
        f"{type(engine.optimizer).__name__} keeps its weights in a way of its own, which cannot be filled from another "
        "layout; go on with the number of processes and the ZeRO stage of the checkpoint."
    )


def _rounded_pairs(wrapper: Any) -> Iterator[tuple[Tensor, Tensor]]:
    for halves, fulls in zip(wrapper.fp16_groups, wrapper.fp32_groups, strict=True):
        yield from zip(halves, fulls, strict=True)


def _stages_1_and_2(optimizer: Any, name: str, parameter: nn.Parameter) -> Iterator[Fragment]:
    mapping = parameter._hp_mapping  # type: ignore[attr-defined]
    if mapping is None:  # all of it belongs to other ranks
        return
    key = optimizer.single_partition_of_fp32_groups[mapping.param_group_index]
    place = mapping.hp_fragment_address.start
    yield Fragment(name, mapping.hp_fragment.data, key, place, mapping.lp_fragment_address.start)


def _stage_3(optimizer: Any, name: str, parameter: Any) -> Iterator[Fragment]:
    group, place, size = optimizer.grad_position[optimizer.get_param_id(parameter)]
    key = optimizer.fp32_partitioned_groups_flat[group]
    start = size * optimizer._get_param_partition_rank(parameter)
    real = min(size, parameter.ds_numel - start)  # the last ranks' parts may be padding
    if real > 0:
        yield Fragment(name, key.data.narrow(0, place, real), key, place, start)


@torch.no_grad()
def fill(engine: Any, state: EngineState, where: str) -> None:
    """Give a fresh DeepSpeed engine the weights and optimizer states of `state`, read from the folder `where`.

    Collective. Raises UserError when a parameter is missing there or has another shape.
    """
    _check_names(engine.module, state, where)
    if engine.zero_optimization_stage() == 3:
        engine.optimizer.checkpoint_event_prologue()  # partitions what is whole at the moment
    optimizer = engine.basic_optimizer
    for fragment in fragments(engine):
        _fill_fragment(optimizer, fragment, state.parameters[fragment.name])
    _refresh_model(engine)
    _fill_frozen(engine, state)
    _fill_loss_scale(engine.optimizer, state.loss_scale)
    for name, value in state.counters.items():
        setattr(engine, name, value)


def _fill_fragment(optimizer: torch.optim.Optimizer, fragment: Fragment, saved: ParameterState) -> None:
    start, stop = fragment.start, fragment.start + len(fragment.master)
    fragment.master.copy_(saved.master.read(start, stop))
    held = optimizer.state[fragment.key]
    for key, value in saved.values.items():
        held.setdefault(key, value.clone() if isinstance(value, Tensor) else value)
    for key, spread in saved.tensors.items():
        if key not in held:
            held[key] = torch.zeros_like(fragment.key.data)
        fragment.of_state(held[key]).copy_(spread.read(start, stop))


def _check_names(module: nn.Module, state: EngineState, where: str) -> None:
    ours = {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
    strange = sorted(set(ours) ^ set(state.parameters))
    if strange:
        side = "lacks" if strange[0] in ours else "holds, but the model lacks,"
        raise UserError(f"{where}: {side} {strange[0]}; the checkpoint belongs to another model.")
    for name, parameter in ours.items():
        shape = tuple(getattr(parameter, "ds_shape", parameter.shape))
        if shape != state.parameters[name].master.shape:
            found = state.parameters[name].master.shape
            raise UserError(f"{where}: {name} has shape {found}, but {shape} in this model; it belongs to another one.")


def _refresh_model(engine: Any) -> None:
    """Bring the model's own weights, which may be rounded and are spread over ranks, up to date with the masters."""
    stage, optimizer = engine.zero_optimization_stage(), engine.optimizer
    if stage == 3:
        _refresh_partitions(optimizer)
        optimizer.checkpoint_event_epilogue()
    elif stage > 0:
        optimizer.update_lp_params()
    elif hasattr(optimizer, "fp32_groups"):
        for half, full in _rounded_pairs(optimizer):
            half.data.copy_(full.data)


def _refresh_partitions(optimizer: Any) -> None:
    for number, master in enumerate(optimizer.fp32_partitioned_groups_flat):
        flat = optimizer.fp16_partitioned_groups_flat[number]
        flat.data.copy_(master.data)
        partitions = optimizer.fp16_partitioned_groups[number]
        for partition, part in zip(partitions, optimizer.unflatten(flat, partitions), strict=True):
            partition.data = part.data


def _fill_frozen(engine: Any, state: EngineState) -> None:
    for name, parameter in engine.module.named_parameters():
        if not parameter.requires_grad and name in state.frozen:
            with deepspeed.zero.GatheredParameters(
                [parameter], modifier_rank=0, enabled=engine.zero_optimization_stage() == 3
            ):
                parameter.data.copy_(state.frozen[name].read())


def _fill_loss_scale(optimizer: Any, values: dict[str, Any]) -> None:
    """fp16: go on with the loss scale that was reached, where both sides adapt it."""
    for holder in (getattr(optimizer, "loss_scaler", None), getattr(optimizer, "loss_scale_config", None)):
        if getattr(holder, "dynamic", False) or getattr(holder, "dynamic_loss_scale", False):
            for name, value in values.items():
                if hasattr(holder, name):
                    setattr(holder, name, value)
