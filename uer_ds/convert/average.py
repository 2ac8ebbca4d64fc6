"""The mean of several checkpoints of one model, tensor by tensor in float64."""

from __future__ import annotations

import dataclasses
import functools
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from uer_ds.config.model import ModelConfig
from uer_ds.convert.beside import CONFIG, beside
from uer_ds.convert.formats import Checkpoint, open_checkpoint
from uer_ds.convert.our_model import join_ties
from uer_ds.convert.rules import listed
from uer_ds.convert.staging import publish_files, publish_folder, refuse_existing, staged
from uer_ds.convert.tokenizer_files import COPIED, save_tokenizer
from uer_ds.errors import UserError
from uer_ds.storage.files import write_json
from uer_ds.storage.lazy import LazyTensor, checksum
from uer_ds.storage.places import TOKENIZER_FOLDER
from uer_ds.storage.writers import write_safetensors, write_safetensors_file, write_torch
from uer_ds.tokenizers import Tokenizer

FILE_SUFFIXES = (".bin", ".safetensors")
# Keys of a configuration that say nothing about what the weights compute.
NO_ARITHMETIC = re.compile(
    r".*(dropout|pdrop|dtype).*|label_smoothing|ignore_index|data_processor|prefix_lm_loss"
    r"|_name_or_path|transformers_version|architectures|use_cache"
)


def average(inputs: Sequence[str | Path], output_path: str | Path, force: bool = False) -> int:
    """Write the mean of `inputs` to a `.bin`, a `.safetensors` or a folder; returns the number of tensors.

    A folder gets what the first input has besides weights (configuration, tokenizer). All inputs must have the same
    names and shapes; whole-number tensors must be equal. Memory: one tensor, three times.
    """
    output = Path(output_path)
    if len(inputs) < 2:
        raise UserError(f"{len(inputs)} checkpoints were given; an average needs at least two.")
    refuse_existing(output, force, output.suffix in FILE_SUFFIXES)
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
    _refuse_other_config(first, other)


def _refuse_other_config(first: Checkpoint, other: Checkpoint) -> None:
    """What no shape tells: the number of heads, the activation. Only what both files say can differ."""
    values, others = _stated(first), _stated(other)
    for key in sorted(values.keys() & others.keys()):
        if values[key] != others[key] and not NO_ARITHMETIC.fullmatch(key):
            raise UserError(
                f"{other.path}: {key} is {others[key]!r}, but {values[key]!r} in {first.path}; average checkpoints of "
                "one model."
            )


def _stated(checkpoint: Checkpoint) -> dict[str, Any]:
    """A configuration; one of ours, if there is one, with the defaults of what it leaves out."""
    defaults = {item.name: item.default for item in dataclasses.fields(ModelConfig)} if checkpoint.is_ours else {}
    return {**defaults, **checkpoint.config} if checkpoint.config else {}


def write_like(
    checkpoint: Checkpoint, tensors: dict[str, LazyTensor], output: Path, replaced: Tokenizer | None = None
) -> None:
    """Write weights in the form that the name of `output` asks for, and what `checkpoint` has beside its weights.

    Args:
        checkpoint: its `config` is written, whatever the file it came from says.
        replaced: the tokenizer that a folder gets instead of that of `checkpoint`.
    """
    with staged(output) as temporary:
        if output.suffix not in FILE_SUFFIXES:
            write_safetensors(temporary, tensors)
            _copy_the_rest(checkpoint.folder, temporary)
            if checkpoint.config:
                write_json(temporary / "config.json", checkpoint.config)
            if replaced is not None:
                shutil.rmtree(temporary / TOKENIZER_FOLDER, ignore_errors=True)
                save_tokenizer(temporary, replaced)
            publish_folder(temporary, output)
            return
        write_file = write_torch if output.suffix == ".bin" else write_safetensors_file
        write_file(temporary / output.name, tensors)
        if checkpoint.config:
            write_json(temporary / beside(output, CONFIG).name, checkpoint.config)
        publish_files(temporary, output)


def _copy_the_rest(source: Path | None, folder: Path) -> None:
    """Configuration and tokenizer of a folder; neither weights nor the state of a run, which the result is none of."""
    if source is None:
        return
    for name in COPIED:
        item = source / name
        if item.is_dir():
            shutil.copytree(item, folder / name)
        elif item.is_file():
            shutil.copy(item, folder / name)
