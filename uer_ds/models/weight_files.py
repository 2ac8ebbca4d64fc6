"""Weights of our models as files: any file of tensors under UER-py's names, old or new; written atomically.

How files are opened and written is `uer_ds.storage`'s business: one tensor at a time, and no code of a pickle runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from torch import Tensor

from uer_ds.errors import UserError
from uer_ds.models.old_names import present_names
from uer_ds.storage import readers
from uer_ds.storage.files import replacing
from uer_ds.storage.folders import read_folder
from uer_ds.storage.lazy import in_memory
from uer_ds.storage.places import newest_checkpoint
from uer_ds.storage.writers import write_safetensors_file, write_torch

T = TypeVar("T")

Source = dict[str, Callable[[], Tensor]]
"""Name -> a function that gives the tensor; nothing is read before it is called."""


def read_weights(path: Path) -> Source:
    """Present name -> a function that gives the tensor, for every tensor in `path`. Nothing is read yet.

    `path`: a UER `.bin` of any year, safetensors, an index of shards, or a folder: a checkpoint (of a run the newest),
    or one with such a file. Raises UserError for anything else, and for a name that is there twice.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file; expected weights (.bin, .safetensors or a checkpoint folder).")
    tensors = read_folder(newest_checkpoint(path))[0] if path.is_dir() else readers.read_weights(path)
    return {name: tensor.read for name, tensor in under_present_names(tensors, path).items()}


def under_present_names(tensors: Mapping[str, T], path: Path) -> dict[str, T]:
    """`tensors` of the file `path` under today's names; a name that is there in two spellings is a UserError."""
    result: dict[str, T] = {}
    for old, new in present_names(tensors).items():
        if new in result:
            raise UserError(f"{path}: holds {new!r} twice, under an old and a new name; remove one of them.")
        result[new] = tensors[old]
    return result


def save_weights(model_state: Mapping[str, Tensor], path: str | Path) -> None:
    """Write name -> tensor to `path`: safetensors for the suffix `.safetensors`, else a UER `.bin`.

    Every name is kept. Tied tensors share their bytes in a `.bin`, and are written once for each name in safetensors.
    """
    path = Path(path)
    write = write_safetensors_file if path.suffix == ".safetensors" else write_torch
    with replacing(path) as temporary:
        write(temporary, in_memory(model_state))
