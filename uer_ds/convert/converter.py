"""`convert`: any checkpoint to a Hugging Face folder, a UER `.bin` or plain safetensors.

It opens the input, brings it under our names, runs the family's table where Hugging Face is the goal, and writes the
result under a temporary name that is renamed when everything is there. Memory: one tensor at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from uer_ds.config.model import ModelConfig
from uer_ds.convert.families.catalogue import by_config, by_name
from uer_ds.convert.formats import Checkpoint, config_beside, open_checkpoint
from uer_ds.convert.huggingface import write_huggingface
from uer_ds.convert.lazy import LazyTensor
from uer_ds.convert.mapping import Choice, map_to_theirs
from uer_ds.convert.our_model import Hints, OurModel, read_our_model
from uer_ds.convert.staging import publish_files, publish_folder, refuse_existing, staged
from uer_ds.convert.tokenizer_files import write_json
from uer_ds.convert.writers import write_safetensors, write_safetensors_file, write_torch
from uer_ds.errors import unknown_name
from uer_ds.tokenizers.base import Tokenizer

FORMATS = ("huggingface", "uer", "safetensors")


@dataclass(frozen=True)
class ConversionReport:
    """What was found and done."""

    input_format: str
    family: str | None
    head: str | None
    config: ModelConfig
    tensors: int
    parameters: int
    output: Path
    dropped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def convert(
    input_path: str | Path,
    output_path: str | Path,
    to: str = "huggingface",
    *,
    config_path: str | Path | None = None,
    tokenizer: Tokenizer | None = None,
    family: str | None = None,
    head: str | None = None,
    heads_num: int | None = None,
    layernorm: str | None = None,
    labels: list[str] | None = None,
    ignore: str | None = None,
    force: bool = False,
    ask_heads: Callable[[int], int] | None = None,
) -> ConversionReport:
    """Convert one checkpoint; `uer-ds convert --help` explains the options. A `UserError` leaves nothing behind."""
    if to not in FORMATS:
        raise unknown_name("format", to, FORMATS, "--to")
    output = Path(output_path)
    refuse_existing(output, force)
    checkpoint = open_checkpoint(input_path, config_path)
    hints = Hints(family, Choice(head, ignore), heads_num, layernorm, ask_heads)
    model = read_our_model(checkpoint, hints)
    if to == "huggingface":
        return _export_huggingface(checkpoint, model, output, hints, tokenizer, labels)
    if layernorm:
        model = model.with_layernorm(layernorm)
    return _export_ours(checkpoint, model, output, to)


def _export_huggingface(
    checkpoint: Checkpoint,
    model: OurModel,
    output: Path,
    hints: Hints,
    tokenizer: Tokenizer | None,
    labels: list[str] | None,
) -> ConversionReport:
    where = str(checkpoint.path)
    family = by_name(hints.family) if hints.family else model.family or by_config(model.config, where)
    notes = []
    if model.config.layernorm == "uer":
        notes.append("UER-py's layer norm was folded into the standard one (gamma times sqrt((n - 1) / n))")
    model = model.with_layernorm("normal")
    mapped = map_to_theirs(family, model.tensors, hints.choice, where)
    tokenizer = tokenizer or saved_tokenizer(checkpoint)
    if tokenizer is None:
        notes.append("no tokenizer was written: none came with the input; give --vocab_path or --spm_model_path")
    with staged(output) as temporary:
        write_huggingface(temporary, output.name, family, model.config, mapped, tokenizer, checkpoint.state, labels)
        publish_folder(temporary, output)
    return ConversionReport(
        checkpoint.format,
        family.name,
        mapped.head,
        model.config,
        len(mapped.tensors),
        _parameters(mapped.tensors),
        output,
        (*model.dropped, *mapped.dropped),
        tuple(notes),
    )


def _export_ours(checkpoint: Checkpoint, model: OurModel, output: Path, to: str) -> ConversionReport:
    config = model.config.to_dict()
    with staged(output) as temporary:
        if to == "safetensors" and output.suffix != ".safetensors":
            write_safetensors(temporary, model.tensors)
            write_json(temporary / "config.json", config)
            publish_folder(temporary, output)
        else:
            write_file = write_torch if to == "uer" else write_safetensors_file
            write_file(temporary / output.name, model.tensors)
            write_json(temporary / config_beside(output).name, config)
            publish_files(temporary, output)
    return ConversionReport(
        checkpoint.format,
        model.family.name if model.family else None,
        None,
        model.config,
        len(model.tensors),
        _parameters(model.tensors),
        output,
        model.dropped,
    )


def _parameters(tensors: dict[str, LazyTensor]) -> int:
    """Number of parameters, tied tensors counted once."""
    return sum(tensor.size for tensor in set(tensors.values()))


def saved_tokenizer(checkpoint: Checkpoint) -> Tokenizer | None:
    """The tokenizer saved in one of our checkpoint folders, if there is one."""
    folder = checkpoint.path / "tokenizer"
    if not (folder / "description.json").is_file():
        return None
    from uer_ds.config.model import read_json_object
    from uer_ds.tokenizers import load_saved_tokenizer

    return load_saved_tokenizer(folder, read_json_object(folder / "description.json"))
