"""Files of weights: UER `.bin` of any year, safetensors, sharded files with an index JSON, our checkpoint folders.

Reading maps a file and gives its tensors one by one; pickles are opened as weights only, so they run no code.
Writing is atomic: a file under its final name is whole.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from uer_ds.config.model import read_json_object
from uer_ds.errors import UserError
from uer_ds.models.old_names import present_names

CHECKPOINT_WEIGHTS = "model.safetensors"
"""The file of plain weights in a checkpoint folder."""

Source = dict[str, Callable[[], Tensor]]
"""Name -> a function that gives the tensor; nothing is copied before it is called."""


def read_weights(path: Path) -> Source:
    """Present name -> a function that gives the tensor, for every tensor in `path`. Nothing is copied yet."""
    if path.is_dir():
        path = _file_in_folder(path)
    if not path.exists():
        raise UserError(f"{path}: no such file; expected weights (.bin, .safetensors or a checkpoint folder).")
    if path.name.endswith(".index.json"):
        source = _read_index(path)
    elif path.suffix == ".safetensors":
        source = _read_safetensors(path)
    else:
        source = _read_pickle(path)
    renamed = present_names(source)
    if len(set(renamed.values())) < len(renamed):
        twice = next(a for a, b in pairwise(sorted(renamed.values())) if a == b)
        raise UserError(f"{path}: holds {twice!r} twice, under an old and a new name; remove one of them.")
    return {renamed[name]: tensor for name, tensor in source.items()}


def _file_in_folder(folder: Path) -> Path:
    candidates = [folder / CHECKPOINT_WEIGHTS, *sorted(folder.glob("*.index.json")), *sorted(folder.glob("*.bin"))]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise UserError(f"{folder}: holds no {CHECKPOINT_WEIGHTS}, *.index.json or *.bin; expected a checkpoint folder.")


def _read_index(path: Path) -> Source:
    files = read_json_object(path).get("weight_map")
    if not isinstance(files, dict):
        raise UserError(f"{path}: has no object 'weight_map'; expected the index of a sharded checkpoint.")
    source: Source = {}
    for file in sorted(set(files.values())):
        part = path.parent / file
        source |= _read_safetensors(part) if part.suffix == ".safetensors" else _read_pickle(part)
    absent = next((name for name in files if name not in source), None)
    if absent is not None:
        raise UserError(f"{path}: names {absent!r} in {files[absent]}, which does not hold it; copy the files again.")
    return source


def _read_safetensors(path: Path) -> Source:
    from safetensors import SafetensorError, safe_open

    try:
        file = safe_open(path, "pt")
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: cannot be read as safetensors: {_one_line(error)}.") from None
    return {name: partial(file.get_tensor, name) for name in file.keys()}  # noqa: SIM118 (not a dict)


def _read_pickle(path: Path) -> Source:
    try:
        state = _load_pickle(path)
    except FileNotFoundError:
        raise UserError(
            f"{path}: no such file; expected weights (.bin, .safetensors or a checkpoint folder)."
        ) from None
    except Exception as error:  # torch raises whatever the damaged bytes lead to
        raise UserError(
            f"{path}: cannot be read as a file of torch.save holding weights only: {_one_line(error)}."
        ) from None
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"{path}: holds a {type(state).__name__}; expected a flat dictionary of name -> tensor.")
    return {name: partial(_itself, tensor) for name, tensor in state.items()}


def _itself(tensor: Tensor) -> Tensor:
    return tensor


def _load_pickle(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except RuntimeError:  # files written before torch 1.6 are no zip archives and cannot be mapped
        return torch.load(path, map_location="cpu", weights_only=True)


def _one_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def save_weights(model_state: Mapping[str, Tensor], path: str | Path) -> None:
    """Write name -> tensor to `path`: safetensors for the suffix `.safetensors`, else a UER `.bin`.

    Every name is kept. Tied tensors share their bytes in a `.bin`, and are written once for each name in safetensors.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        if path.suffix == ".safetensors":
            _write_safetensors(model_state, temporary)
        else:
            torch.save(_compact(model_state), temporary)
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _write_safetensors(model_state: Mapping[str, Tensor], path: Path) -> None:
    from safetensors.torch import save_file

    seen: set[int] = set()
    tensors = {}
    for name, tensor in model_state.items():
        tensor = tensor.detach().cpu().contiguous()
        storage = tensor.untyped_storage()
        whole_storage = storage.nbytes() == tensor.nbytes and storage.data_ptr() not in seen
        seen.add(storage.data_ptr())
        tensors[name] = tensor if whole_storage else tensor.clone()
    save_file(tensors, path, metadata={"format": "pt"})
    path.chmod(0o666 & ~_umask())  # safetensors writes for the owner only


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def _compact(model_state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors on the CPU; views are copied, since torch.save would write all of what they look into."""
    copies: dict[tuple[Any, ...], Tensor] = {}
    result = {}
    for name, tensor in model_state.items():
        tensor = tensor.detach()
        key = (tensor.untyped_storage().data_ptr(), tensor.storage_offset(), tensor.shape, tensor.stride())
        if key not in copies:
            full = tensor.untyped_storage().nbytes() == tensor.nbytes
            copies[key] = (
                tensor.cpu().contiguous() if full else tensor.cpu().clone(memory_format=torch.contiguous_format)
            )
        result[name] = copies[key]
    return result
