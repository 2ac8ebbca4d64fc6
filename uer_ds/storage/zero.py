"""DeepSpeed checkpoints of ZeRO 0 to 3: float32 weights and optimizer states by parameter name, whoever wrote them.

Nothing is put together beforehand: each tensor is a `Spread` over the ranks' files, of which any part can be read. The
converter takes the weights, a resume at another number of processes or another stage takes everything.

Layout. Stage 0: one file, one tensor a parameter. Stages 1 and 2: each parameter group is one flat vector, cut into
one piece a rank. Stage 3: each parameter is cut into one piece a rank; a rank's pieces stand one after the other in
its flat groups. Optimizer states lie as the weights do.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from uer_ds.errors import UserError
from uer_ds.storage.lazy import LazyTensor
from uer_ds.storage.zero_files import (
    MODEL_FILES,
    OPTIMIZER_FILES,
    Segment,
    Spread,
    StandIn,
    ZeroFile,
    cut,
    files_by_rank,
    whole_segment,
)
from uer_ds.storage.zero_state import EngineState, ParameterState, check_size, is_vector

PARAMETER_NAMES = "uer_ds_parameters"
"""Key of our own in the model files: names of the parameters, group by group, in the optimizer's order."""


def read_zero(folder: Path) -> dict[str, LazyTensor]:
    """The weights in a folder of DeepSpeed's files: float32 masters where there are any."""
    if not any(folder.glob(OPTIMIZER_FILES)):
        return _plain_module(files_by_rank(folder, MODEL_FILES)[0])
    state = read_engine_state(folder, with_optimizer=False)
    tensors = state.frozen | {name: parameter.master.lazy() for name, parameter in state.parameters.items()}
    return tensors | {name: tensors[owner] for name, owner in state.shared.items()}


def read_engine_state(folder: Path, with_optimizer: bool = True) -> EngineState:
    """Everything in a folder of DeepSpeed's files; raises `UserError` when it cannot be divided by parameters."""
    models, files = files_by_rank(folder, MODEL_FILES), files_by_rank(folder, OPTIMIZER_FILES)
    if not models:
        raise UserError(f"{folder}: holds no files of DeepSpeed; the checkpoint is damaged.")
    counters = {key: models[0].contents().get(key, 0) for key in ("global_steps", "global_samples", "skipped_steps")}
    if not files:
        parameters = _stage_0(models[0], with_optimizer)
        return EngineState(0, 1, parameters, {}, {}, _loss_scale(models[0].contents().get("optimizer")), counters)
    first = _optimizer_state(files[0])
    ranks = first["partition_count"]
    ranks = max(ranks) if isinstance(ranks, list) else ranks
    if ranks != len(files):
        raise UserError(f"{folder}: was written by {ranks} ranks, but {len(files)} of their files are there.")
    stage = int(first["zero_stage"])
    if stage == 3:
        parameters, frozen = _stage_3(files, models, with_optimizer), _frozen(models)
    else:
        parameters, frozen = _stages_1_and_2(files, models[0], with_optimizer), _frozen(models[:1])
    shared = dict(models[0].contents().get("shared_params") or {})
    return EngineState(stage, ranks, parameters, frozen, shared, _loss_scale(first), counters)


# -- stage 0 -----------------------------------------------------------------------------------------------------------


def _plain_module(file: ZeroFile) -> dict[str, LazyTensor]:
    """The module's state dict; where it is rounded, the float32 weights behind it."""
    tensors = ZeroFile(file.path).tensors()  # which looks at the module's state dict only
    masters = {name: state.master for name, state in _stage_0(file, with_optimizer=False).items()}
    owners = {id(tensors[name]): spread.lazy() for name, spread in masters.items() if name in tensors}
    return {name: owners.get(id(tensor), tensor) for name, tensor in tensors.items()}


def _stage_0(file: ZeroFile, with_optimizer: bool) -> dict[str, ParameterState]:
    groups = file.contents().get(PARAMETER_NAMES)
    if not groups:
        if with_optimizer:
            raise UserError(
                f"{file.path}: does not name the optimizer's parameters, so it can only be continued at stage 0; "
                "use the ZeRO stage it was written with."
            )
        return {}
    optimizer = file.contents()["optimizer"]
    rounded = "fp32_groups" in optimizer
    where: tuple[Any, ...] = ("optimizer", "optimizer_state_dict") if rounded else ("optimizer",)
    found, index = {}, 0
    for number, names in enumerate(groups):
        for place, name in enumerate(names):
            shape = tuple(file.find(("module", name)).shape)
            keys = ("optimizer", "fp32_groups", number, place) if rounded else ("module", name)
            master = Spread((whole_segment(file, *keys),), shape)
            state = file.find((*where, "state")).get(index, {}) if with_optimizer else {}
            tensors, values = {}, {}
            for key, value in state.items():
                if not is_vector(value):
                    values[key] = value
                    continue
                check_size(file, key, value.numel(), master.size)
                tensors[key] = Spread((whole_segment(file, *where, "state", index, key),), shape)
            found[name] = ParameterState(master, tensors, values)
            index += 1
    return found


# -- stages 1, 2, 3 ----------------------------------------------------------------------------------------------------


def _stages_1_and_2(files: list[ZeroFile], model: ZeroFile, with_optimizer: bool) -> dict[str, ParameterState]:
    paddings = _optimizer_state(files[0]).get("param_alignment_paddings")
    base = ("optimizer_state_dict", "base_optimizer_state")
    vectors = [_vectors(file, "single_partition_of_fp32_groups", base, with_optimizer) for file in files]
    found = {}
    for number, shapes in enumerate(_shapes(model)):
        pieces = [rank[number] for rank in vectors]
        offset = 0
        for place, (name, shape) in enumerate(shapes.items()):
            take = functools.partial(_take, start=offset, stop=offset + torch.Size(shape).numel(), shape=tuple(shape))
            found[name] = _joined(pieces, take)
            offset += torch.Size(shape).numel() + (paddings[number][place] if paddings else 0)
        _check_length(model.path, offset, sum(piece.master.size for piece in pieces))
    return found


def _stage_3(files: list[ZeroFile], models: list[ZeroFile], with_optimizer: bool) -> dict[str, ParameterState]:
    base = ("optimizer_state_dict", "optimizer_state_dict")
    vectors = [_vectors(file, "fp32_flat_groups", base, with_optimizer) for file in files]
    found = {}
    offset = 0
    for shapes in _shapes(models[0]):
        for name, shape in shapes.items():
            part = -(-torch.Size(shape).numel() // len(files))
            take = functools.partial(_take_parts, start=offset, stop=offset + part, shape=tuple(shape))
            found[name] = _joined(vectors, take)
            offset += part
    _check_length(models[0].path, offset, sum(vector.master.size for vector in vectors[0]))
    return found


@dataclass(frozen=True)
class _Vector:
    """One flat vector of one rank: weights, and the optimizer's tensors and values that belong to it."""

    master: Segment
    tensors: dict[str, Segment]
    values: dict[str, Any]


def _vectors(file: ZeroFile, key: str, base: tuple[str, ...], with_optimizer: bool) -> list[_Vector]:
    _optimizer_state(file)
    vectors = file.find(("optimizer_state_dict", key))
    states = file.find((*base, "state")) if with_optimizer else {}
    found = []
    for number, vector in enumerate(vectors):
        tensors, values = {}, {}
        for name, value in states.get(number, {}).items():
            if is_vector(value):
                if value.numel() < vector.numel():  # longer ones end with padding
                    check_size(file, name, value.numel(), vector.numel())
                tensors[name] = whole_segment(file, *base, "state", number, name)
            else:
                values[name] = value
        found.append(_Vector(whole_segment(file, "optimizer_state_dict", key, number), tensors, values))
    return found


def _joined(vectors: Sequence[Any], take: Any) -> ParameterState:
    """A parameter out of the ranks' vectors; `take` finds its part in a list of segments for each rank."""
    first = vectors[0][0] if isinstance(vectors[0], list) else vectors[0]
    ranks = [rank if isinstance(rank, list) else [rank] for rank in vectors]
    master = take([[vector.master for vector in rank] for rank in ranks])
    tensors = {key: take([[vector.tensors[key] for vector in rank] for rank in ranks]) for key in first.tensors}
    return ParameterState(master, tensors, first.values)


def _take(ranks: list[list[Segment]], start: int, stop: int, shape: tuple[int, ...]) -> Spread:
    return Spread(tuple(cut(chain(*ranks), start, stop)), shape)


def _take_parts(ranks: list[list[Segment]], start: int, stop: int, shape: tuple[int, ...]) -> Spread:
    return Spread(tuple(chain(*(cut(segments, start, stop) for segments in ranks))), shape)


def _optimizer_state(file: ZeroFile) -> dict[str, Any]:
    state = file.contents().get("optimizer_state_dict")
    if not isinstance(state, dict) or "zero_stage" not in state:
        raise UserError(f"{file.path}: holds no optimizer state of ZeRO; the checkpoint is damaged or of another kind.")
    return state


def _shapes(file: ZeroFile) -> list[Mapping[str, Any]]:
    """Names and shapes of the parameters, group by group, in the order of the flat vectors."""
    shapes = file.contents().get("param_shapes")
    if not isinstance(shapes, list):
        raise UserError(f"{file.path}: does not list the shapes of the parameters; the checkpoint is damaged.")
    return shapes


def _frozen(states: list[ZeroFile]) -> dict[str, LazyTensor]:
    """Parameters that are not trained: whole in one file, or in one part a rank."""
    shapes: Mapping[str, Any] = states[0].contents().get("frozen_param_shapes") or {}

    def read(name: str) -> torch.Tensor:
        parts = [state.lend(state.contents()["frozen_param_fragments"][name].flatten()) for state in states]
        return torch.cat(parts)[: torch.Size(shapes[name]).numel()].view(shapes[name]).float()

    return {
        name: LazyTensor(tuple(shape), torch.float32, functools.partial(read, name)) for name, shape in shapes.items()
    }


def _loss_scale(state: Any) -> dict[str, Any]:
    """The state of a dynamic loss scale under the names of DeepSpeed's attributes."""
    scaler = state.get("loss_scaler") if isinstance(state, dict) else None
    values = scaler.values if isinstance(scaler, StandIn) else state or {}
    names = ("cur_scale", "cur_iter", "last_overflow_iter", "cur_hysteresis")
    return {name: values[name] for name in names if values.get(name) is not None}


def _check_length(path: Path, needed: int, there: int) -> None:
    """The vectors end with padding, never before the last parameter."""
    if needed > there:
        raise UserError(f"{path}: lists parameters of {needed} numbers in all, but the ranks' files hold {there}.")
