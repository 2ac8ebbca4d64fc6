"""`Writer`: what DeepSpeed hands over for a checkpoint becomes files, at once or later in the background.

DeepSpeed calls `save` in the middle of a collective save, where an exception on one rank would leave the others
waiting. So `save` never raises: what went wrong is kept, and the ranks talk about it afterwards. Background: `save`
only copies the tensors to host memory (one copy of this rank's part); `write_all` writes them.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from deepspeed.runtime.checkpoint_engine.torch_checkpoint_engine import TorchCheckpointEngine

from uer_ds.storage.checksums import SummedFile
from uer_ds.storage.files import sync


class Writer(TorchCheckpointEngine):
    """Takes the place of DeepSpeed's own checkpoint engine.

    Attributes:
        later: keep copies for `write_all` instead of writing at once.
        written: path -> (size, CRC-32) of the files written since `start`.
        trouble: the first error since `start`, in words.
    """

    def __init__(self) -> None:
        super().__init__()
        self.start(later=False)

    def start(self, later: bool) -> None:
        """A new checkpoint begins."""
        self.later = later
        self.written: dict[Path, tuple[int, int]] = {}
        self.trouble: str | None = None
        self._waiting: list[tuple[Any, Path]] = []

    def save(self, state_dict: Any, path: str) -> None:
        """DeepSpeed's call for one file."""
        if self.later:
            self._waiting.append((host_copy(state_dict, {}), Path(path)))
        else:
            self._write(state_dict, Path(path))

    def write_all(self) -> None:
        """Write what was kept; copies are let go one file after the other."""
        while self._waiting:
            self._write(*self._waiting.pop(0))

    def _write(self, state_dict: Any, path: Path) -> None:
        if self.trouble is not None:
            return
        file = None
        try:
            with path.open("wb") as opened:
                file = SummedFile(opened)
                torch.save(state_dict, file)  # type: ignore[arg-type]
            sync(path)
            self.written[path] = (file.size, file.checksum)
        except (OSError, RuntimeError) as error:
            cause = (file.error if file else None) or error
            if not isinstance(cause, OSError) and "PytorchStreamWriter" not in str(cause):
                raise
            self.trouble = f"{path.name}: {(str(cause).splitlines() or [type(cause).__name__])[0]}"


def host_copy(value: Any, storages: dict[tuple[int, int], torch.UntypedStorage]) -> Any:
    """A copy of a state dictionary whose tensors are in host memory; tensors that share memory go on sharing it."""
    if isinstance(value, torch.Tensor):
        return _host_tensor(value.detach(), storages)
    if isinstance(value, dict):
        copied = {key: host_copy(item, storages) for key, item in value.items()}
        return copied if type(value) is dict else _rebuilt(type(value), copied)
    if isinstance(value, (list, tuple)) and type(value) in (list, tuple):
        return type(value)(host_copy(item, storages) for item in value)
    return copy.deepcopy(value)  # a loss scaler, say, which the next update changes


def _rebuilt(kind: type, items: dict[Any, Any]) -> Any:
    """A dictionary of another class, such as OrderedDict; classes that want more become plain dictionaries."""
    try:
        return kind(items)
    except TypeError:
        return items


def _host_tensor(tensor: torch.Tensor, storages: dict[tuple[int, int], torch.UntypedStorage]) -> torch.Tensor:
    storage = tensor.untyped_storage()
    key = (storage.data_ptr(), storage.nbytes())
    if key not in storages:
        storages[key] = storage.cpu() if tensor.device.type != "cpu" else storage.clone()
    view = torch.empty(0, dtype=tensor.dtype)
    return view.set_(storages[key], tensor.storage_offset(), tensor.size(), tensor.stride())
