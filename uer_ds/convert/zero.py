"""DeepSpeed checkpoints of ZeRO 0 to 3: the float32 weights, put together from the ranks' files one tensor at a time.

DeepSpeed's own script reads pickles that may run code. Here they are read as weights only: the few classes of
DeepSpeed in them (loss scalers, addresses of fragments) are replaced by a stand-in that keeps nothing.

Layout. Stages 1 and 2: each parameter group is one flat vector, cut into one piece a rank. Stage 3: each parameter is
cut into one piece a rank; a rank's pieces stand one after the other in its flat groups.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from uer_ds.convert.lazy import LazyTensor
from uer_ds.convert.readers import TorchFile
from uer_ds.errors import UserError

MODEL_FILES = "*_model_states.pt"
OPTIMIZER_FILES = "*_optim_states.pt"
STAND_INS = (
    "argparse.Namespace",
    "deepspeed.runtime.fp16.loss_scaler.DynamicLossScaler",
    "deepspeed.runtime.fp16.loss_scaler.LossScaler",
    "deepspeed.runtime.fp16.loss_scaler.LossScalerBase",
    "deepspeed.utils.tensor_fragment.fragment_address",
)
ENGINE_FOLDER = "engine"  # inside our checkpoints


class _Ignored:
    """Takes the place of an object that is not needed."""

    def __init__(self, *values: Any):
        pass

    def __setstate__(self, state: Any) -> None:
        pass


class ZeroFile(TorchFile):
    """One of DeepSpeed's files."""

    def load(self) -> Any:
        """The dictionary that was saved."""
        allowed: list[Any] = [(_Ignored, name) for name in STAND_INS]
        allowed.append((int, "deepspeed.runtime.zero.config.ZeroStageEnum"))
        with torch.serialization.safe_globals(allowed):
            return super().load()

    def contents(self) -> dict[str, Any]:
        """What was saved; kept until enough of it has been read."""
        if self._contents is None:
            self._contents = self.load()
        if not isinstance(self._contents, dict):
            raise UserError(f"{self.path}: holds no dictionary; expected a file of DeepSpeed.")
        return self._contents


@dataclass(frozen=True)
class FlatGroup:
    """One flat vector in a rank's optimizer file."""

    file: ZeroFile
    key: str
    number: int
    size: int

    def read(self, start: int, stop: int) -> torch.Tensor:
        """A part of it."""
        vector = self.file.contents()["optimizer_state_dict"][self.key][self.number]
        return self.file.lend(vector[start:stop])


def deepspeed_folder(path: Path) -> Path | None:
    """The folder of DeepSpeed's files for a checkpoint at `path`; None: it is no checkpoint of DeepSpeed's."""
    latest = path / "latest"
    if latest.is_file():
        tag = latest.read_text(encoding="utf-8").strip()
        if not tag or Path(tag).name != tag:
            raise UserError(f"{latest}: names the folder {tag!r}; expected a plain name in the same folder.")
        if not (path / tag).is_dir():
            raise UserError(f"{latest}: names the checkpoint {tag!r}, which is not there; name another one.")
        path = path / tag
    for folder in (path, path / ENGINE_FOLDER):
        if any(folder.glob(MODEL_FILES)):
            return folder
    return None


def read_zero(folder: Path) -> dict[str, LazyTensor]:
    """The weights in a folder of DeepSpeed's files: float32 masters where there are any."""
    models = _by_rank(folder.glob(MODEL_FILES))
    optimizers = _by_rank(folder.glob(OPTIMIZER_FILES))
    if not optimizers:
        return _plain_module(models[0])
    states = [ZeroFile(path) for path in models]
    first = _optimizer_state(ZeroFile(optimizers[0]))
    ranks = first["partition_count"]
    ranks = max(ranks) if isinstance(ranks, list) else ranks
    if ranks != len(optimizers):
        raise UserError(f"{folder}: was written by {ranks} ranks, but {len(optimizers)} of their files are there.")
    files = [ZeroFile(path) for path in optimizers]
    if first["zero_stage"] == 3:
        tensors = _stage_3(files, states)
    else:
        tensors = _stages_1_and_2(files, states[0], first.get("param_alignment_paddings"))
    shared = states[0].contents().get("shared_params") or {}
    return tensors | {name: tensors[owner] for name, owner in dict(shared).items()}


def _by_rank(paths: Any) -> list[Path]:
    """Files in the order of their ranks; model parallelism is refused."""
    found = sorted(paths, key=lambda path: [int(number) for number in re.findall(r"\d+", path.name)])
    for path in found:
        if re.search(r"mp_rank_(?!00_)", path.name) or path.name.startswith("layer_"):
            raise UserError(f"{path}: belongs to a model-parallel run; only data-parallel checkpoints are converted.")
    return found


def _plain_module(path: Path) -> dict[str, LazyTensor]:
    """ZeRO 0: the module's own state dict."""
    return TorchFile(path).tensors()


def _optimizer_state(file: ZeroFile) -> dict[str, Any]:
    state = file.contents().get("optimizer_state_dict")
    if not isinstance(state, dict) or "zero_stage" not in state:
        raise UserError(f"{file.path}: holds no optimizer state of ZeRO; the checkpoint is damaged or of another kind.")
    return state


def _groups(file: ZeroFile, key: str) -> list[FlatGroup]:
    state = _optimizer_state(file)
    if key not in state:
        raise UserError(f"{file.path}: has no {key}; the checkpoint is damaged or of another version of DeepSpeed.")
    return [FlatGroup(file, key, number, vector.numel()) for number, vector in enumerate(state[key])]


def _shapes(file: ZeroFile) -> list[Mapping[str, Any]]:
    """Names and shapes of the parameters, group by group, in the order of the flat vectors."""
    shapes = file.contents().get("param_shapes")
    if not isinstance(shapes, list):
        raise UserError(f"{file.path}: does not list the shapes of the parameters; the checkpoint is damaged.")
    return shapes


def _stages_1_and_2(files: list[ZeroFile], state: ZeroFile, paddings: Any) -> dict[str, LazyTensor]:
    ranks = [_groups(file, "single_partition_of_fp32_groups") for file in files]
    tensors = _frozen([state])
    for number, shapes in enumerate(_shapes(state)):
        pieces = [groups[number] for groups in ranks]
        offset = 0
        for place, (name, shape) in enumerate(shapes.items()):
            read = functools.partial(_read_range, pieces, offset, torch.Size(shape))
            tensors[name] = LazyTensor(tuple(shape), torch.float32, read)
            offset += torch.Size(shape).numel() + (paddings[number][place] if paddings else 0)
        _check_length(state.path, offset, sum(piece.size for piece in pieces))
    return tensors


def _stage_3(files: list[ZeroFile], states: list[ZeroFile]) -> dict[str, LazyTensor]:
    ranks = [_groups(file, "fp32_flat_groups") for file in files]
    tensors = _frozen(states)
    offset = 0
    for shapes in _shapes(states[0]):
        for name, shape in shapes.items():
            part = -(-torch.Size(shape).numel() // len(ranks))
            read = functools.partial(_read_parts, ranks, offset, part, torch.Size(shape))
            tensors[name] = LazyTensor(tuple(shape), torch.float32, read)
            offset += part
    _check_length(states[0].path, offset, sum(group.size for group in ranks[0]))
    return tensors


def _frozen(states: list[ZeroFile]) -> dict[str, LazyTensor]:
    """Parameters that are not trained: whole in one file, or in one part a rank."""
    shapes: Mapping[str, Any] = states[0].contents().get("frozen_param_shapes") or {}

    def read(name: str) -> torch.Tensor:
        parts = [state.lend(state.contents()["frozen_param_fragments"][name].flatten()) for state in states]
        return torch.cat(parts)[: torch.Size(shapes[name]).numel()].view(shapes[name]).float()

    return {
        name: LazyTensor(tuple(shape), torch.float32, functools.partial(read, name)) for name, shape in shapes.items()
    }


def _check_length(path: Path, needed: int, there: int) -> None:
    """The vectors end with padding, never before the last parameter."""
    if needed > there:
        raise UserError(f"{path}: lists parameters of {needed} numbers in all, but the ranks' files hold {there}.")


def _read_parts(ranks: list[list[FlatGroup]], offset: int, part: int, shape: torch.Size) -> torch.Tensor:
    """A parameter out of its parts on every rank."""
    parts = [_read_range(groups, offset, torch.Size([part])) for groups in ranks]
    return torch.cat(parts)[: shape.numel()].view(shape)


def _read_range(pieces: list[FlatGroup], start: int, shape: torch.Size) -> torch.Tensor:
    """Numbers `start` and following of the pieces joined to one vector."""
    stop = start + shape.numel()
    found = []
    begin = 0
    for piece in pieces:
        left, right = max(start - begin, 0), min(stop - begin, piece.size)
        if left < right:
            found.append(piece.read(left, right))
        begin += piece.size
    return torch.cat(found).view(shape) if found else torch.empty(shape)
