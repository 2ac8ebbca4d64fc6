"""DeepSpeed's files as weights only: no code in them runs, and their tensors stay on the disk until they are asked for.

The few classes of DeepSpeed in these pickles are replaced: loss scalers by their plain values, addresses of fragments
by nothing. A `Spread` is one tensor whose numbers stand in several places of several files.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from uer_ds.errors import UserError
from uer_ds.storage.lazy import LazyTensor
from uer_ds.storage.torch_file import TorchFile

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


GETATTR = ("builtins.getattr", "__builtin__.getattr")
STAGES = {"disabled": 0, "optimizer_states": 1, "gradients": 2, "weights": 3, "max_stage": 3}
"""Members of DeepSpeed's ZeroStageEnum."""


def _stage(cls: Any, name: str) -> int:
    """Stands for `getattr`, by which Python before 3.11.4 pickles members of an enumeration; for nothing else."""
    if cls is not int or name not in STAGES:
        raise pickle.UnpicklingError(f"GLOBAL getattr of {name}")
    return STAGES[name]


class StandIn:
    """Takes the place of an object of DeepSpeed's; keeps its attributes."""

    def __init__(self, *values: Any):
        self.values: dict[str, Any] = {}

    def __setstate__(self, state: Any) -> None:
        self.values = dict(state) if isinstance(state, dict) else {}


class ZeroFile(TorchFile):
    """One of DeepSpeed's files."""

    def load(self) -> Any:
        """The dictionary that was saved."""
        allowed: list[Any] = [(StandIn, name) for name in STAND_INS]
        allowed.append((int, "deepspeed.runtime.zero.config.ZeroStageEnum"))
        allowed += [(_stage, name) for name in GETATTR]
        with torch.serialization.safe_globals(allowed):
            return super().load()

    def contents(self) -> dict[str, Any]:
        """What was saved; kept until enough of it has been read."""
        if self._contents is None:
            self._contents = self.load()
        if not isinstance(self._contents, dict):
            raise UserError(f"{self.path}: holds no dictionary; expected a file of DeepSpeed.")
        return self._contents

    def find(self, keys: Sequence[Any]) -> Any:
        """What `keys` lead to, one after the other."""
        value: Any = self.contents()
        for key in keys:
            try:
                value = value[key]
            except (KeyError, IndexError, TypeError):
                raise UserError(
                    f"{self.path}: has no {keys[-1]}; the checkpoint is damaged or of another version of DeepSpeed."
                ) from None
        return value


@dataclass(frozen=True)
class Segment:
    """`size` numbers, from number `start` on, of the tensor in `file` that `keys` lead to."""

    file: ZeroFile
    keys: tuple[Any, ...]
    start: int
    size: int

    def part(self, start: int, stop: int) -> Segment:
        """Numbers `start` to `stop` of this segment."""
        return Segment(self.file, self.keys, self.start + start, stop - start)

    def read(self) -> torch.Tensor:
        """The numbers [size], a view of the file."""
        whole = self.file.find(self.keys).reshape(-1)
        return self.file.lend(whole[self.start : self.start + self.size])


def whole_segment(file: ZeroFile, *keys: Any) -> Segment:
    """All numbers of one tensor in a file."""
    return Segment(file, keys, 0, file.find(keys).numel())


def cut(segments: Iterable[Segment], start: int, stop: int) -> list[Segment]:
    """The parts of `segments`, which stand one after the other, that hold the numbers `start` to `stop`."""
    found = []
    begin = 0
    for segment in segments:
        left, right = max(start - begin, 0), min(stop - begin, segment.size)
        if left < right:
            found.append(segment.part(left, right))
        begin += segment.size
    return found


@dataclass(frozen=True)
class Spread:
    """A tensor whose flattened numbers are those of its segments, one after the other (and padding behind them)."""

    segments: tuple[Segment, ...]
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Numbers in the tensor."""
        return torch.Size(self.shape).numel()

    def read(self, start: int = 0, stop: int | None = None) -> torch.Tensor:
        """The numbers `start` to `stop`, flat, float32; only the pages that hold them are read."""
        parts = [segment.read() for segment in cut(self.segments, start, self.size if stop is None else stop)]
        return torch.cat(parts).float() if parts else torch.empty(0)

    def lazy(self) -> LazyTensor:
        """The whole tensor in its shape."""
        return LazyTensor(self.shape, torch.float32, lambda: self.read().view(self.shape))


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


def files_by_rank(folder: Path, pattern: str) -> list[ZeroFile]:
    """Files in the order of their ranks; model parallelism is refused."""
    found = sorted(folder.glob(pattern), key=lambda path: [int(number) for number in re.findall(r"\d+", path.name)])
    for path in found:
        if re.search(r"mp_rank_(?!00_)", path.name) or path.name.startswith("layer_"):
            raise UserError(f"{path}: belongs to a model-parallel run; only data-parallel checkpoints are read.")
    return [ZeroFile(path) for path in found]
