"""The mean of several checkpoints of one model, tensor by tensor in float64."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch

from uer_ds.convert.formats import Checkpoint, config_beside, open_checkpoint
from uer_ds.convert.our_model import join_ties
from uer_ds.convert.rules import listed
from uer_ds.convert.staging import publish_files, publish_folder, refuse_existing, staged
from uer_ds.convert.tokenizer_files import write_json
from uer_ds.errors import UserError
from uer_ds.storage.lazy import LazyTensor, checksum
from uer_ds.storage.writers import write_safetensors, write_safetensors_file, write_torch

WEIGHT_SUFFIXES = (".bin", ".safetensors", ".pt")
LEFT_OUT = ("state.json", ".index.json")


def average(inputs: Sequence[str | Path], output_path: str | Path, force: bool = False) -> int:
    """Write the mean of `inputs` to a `.bin`, a `.safetensors` or a folder; returns the number of tensors.

    A folder gets what the first input has besides weights (configuration, tokenizer). All inputs must have the same
    names and shapes; whole-number tensors must be equal. Memory: one tensor, three times.
    """
    output = Path(output_path)
    if len(inputs) < 2:
        raise UserError(f"{len(inputs)} checkpoints were given; an average needs at least two.")
    refuse_existing(output, force)
    checkpoints = [open_checkpoint(path) for path in inputs]
    for other in checkpoints[1:]:
        _refuse_other_model(checkpoints[0], other)
    tensors = {name: mean_tensor(name, checkpoints) for name in checkpoints[0].tensors}
    if checkpoints[0].is_ours:
        join_ties(tensors)
    write_like(checkpoints[0], tensors, output)
    return len(tensors)


def mean_tensor(name: str, checkpoints: Sequence[Checkpoint]) -> LazyTensor:
    """The mean of one tensor, read when it is needed."""
    tensors = [checkpoint.tensors[name] for checkpoint in checkpoints]
    first = tensors[0]
    if not first.dtype.is_floating_point:
        if len({checksum(tensor) for tensor in tensors}) > 1:
            raise UserError(f"{checkpoints[0].path}: {name!r} holds whole numbers and differs; it has no mean.")
        return first
    return LazyTensor(first.shape, first.dtype, functools.partial(_mean, tensors))


def _mean(tensors: Sequence[LazyTensor]) -> torch.Tensor:
    total = tensors[0].read().double()
    for tensor in tensors[1:]:
        total += tensor.read()
    return (total / len(tensors)).to(tensors[0].dtype)


def _refuse_other_model(first: Checkpoint, other: Checkpoint) -> None:
    names = sorted(first.tensors.keys() ^ other.tensors.keys())
    if names:
        raise UserError(f"{other.path}: {listed(names)} in one only of it and {first.path}; average one model's files.")
    for name, tensor in first.tensors.items():
        if other.tensors[name].shape != tensor.shape:
            raise UserError(
                f"{other.path}: {name!r} has shape {list(other.tensors[name].shape)}, but {list(tensor.shape)} in "
                f"{first.path}; average checkpoints of one model."
            )


def write_like(checkpoint: Checkpoint, tensors: dict[str, LazyTensor], output: Path) -> None:
    """Write weights in the form that the name of `output` asks for, and what `checkpoint` has beside its weights."""
    with staged(output) as temporary:
        if output.suffix not in (".bin", ".safetensors"):
            write_safetensors(temporary, tensors)
            _copy_the_rest(checkpoint.path, temporary)
            publish_folder(temporary, output)
            return
        write_file = write_torch if output.suffix == ".bin" else write_safetensors_file
        write_file(temporary / output.name, tensors)
        if checkpoint.config:
            write_json(temporary / config_beside(output).name, checkpoint.config)
        publish_files(temporary, output)


def _copy_the_rest(source: Path, folder: Path) -> None:
    """Configuration and tokenizer of a folder; neither weights nor the state of a run, which the result is none of."""
    if not source.is_dir():
        return
    for item in source.iterdir():
        if item.name == "tokenizer" and item.is_dir():
            shutil.copytree(item, folder / item.name)
        elif item.is_file() and item.suffix not in WEIGHT_SUFFIXES and not item.name.endswith(LEFT_OUT):
            shutil.copy(item, folder / item.name)
