"""Folders with weights: runs, checkpoints of ours, of Hugging Face's and of DeepSpeed's; which file in them to read."""

from __future__ import annotations

from pathlib import Path

from uer_ds.errors import UserError
from uer_ds.storage.lazy import LazyTensor
from uer_ds.storage.readers import read_weights
from uer_ds.storage.zero import read_zero
from uer_ds.storage.zero_files import deepspeed_folder

WEIGHT_FILES = (
    "model.safetensors.index.json",
    "model.safetensors",
    "model.bin",
    "pytorch_model.bin.index.json",
    "pytorch_model.bin",
    "tencentpretrain_model.bin.index.json",
)
SUFFIXES = (".bin", ".safetensors", ".pt")


def read_folder(folder: Path) -> tuple[dict[str, LazyTensor], bool]:
    """The tensors in a folder, and whether they were put together from DeepSpeed's files."""
    zero = None if has_weights(folder) else deepspeed_folder(folder)
    return (read_zero(zero), True) if zero else (read_weights(find_weights(folder)), False)


def has_weights(folder: Path) -> bool:
    """Whether a file with one of the usual names is there."""
    return any((folder / name).is_file() for name in WEIGHT_FILES)


def holds_weights(folder: Path) -> bool:
    """Whether there is anything in a folder that may be weights: any weight file, an index, files of DeepSpeed."""
    files = any(file.suffix in SUFFIXES or file.name.endswith(".index.json") for file in folder.iterdir())
    return files or deepspeed_folder(folder) is not None


def find_weights(folder: Path) -> Path:
    """The file of the weights (or their index) in a folder."""
    for name in WEIGHT_FILES:
        if (folder / name).is_file():
            return folder / name
    files = sorted(folder.glob("*.index.json"))
    if len(files) != 1:
        files = sorted(file for file in folder.iterdir() if file.suffix in SUFFIXES)
    if len(files) == 1:
        return files[0]
    if files:
        names = ", ".join(file.name for file in files[:5])
        raise UserError(f"{folder}: has {len(files)} weight files ({names}) and no index of them; name one file.")
    raise UserError(f"{folder}: has no weights; expected model.safetensors, pytorch_model.bin or an index of shards.")
