"""The two exporters: a Hugging Face folder, and weights under our names (`.bin`, safetensors) with their model JSON."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from uer_ds.config.model import ModelConfig
from uer_ds.convert.beside import CONFIG, LABELS, THEIR_IDS, beside
from uer_ds.convert.eras import PRESENT, with_names_of
from uer_ds.convert.families.catalogue import family_of
from uer_ds.convert.families.family import Family
from uer_ds.convert.huggingface import Extras, numbered, write_huggingface
from uer_ds.convert.mapping import Choice, map_to_theirs
from uer_ds.convert.our_model import OurModel
from uer_ds.convert.proof import count_elements, from_theirs, from_written, has_other_eps, has_reference, verified
from uer_ds.convert.remainder import write_remainder
from uer_ds.convert.sbert import one_stream
from uer_ds.convert.sentence_files import saved_pooling, write_sentence_transformers
from uer_ds.convert.staging import publish_files, publish_folder, staged
from uer_ds.convert.tokenizer_files import THEIR_NAMES, save_tokenizer
from uer_ds.convert.verify import Difference
from uer_ds.errors import UserError
from uer_ds.storage.files import write_json
from uer_ds.storage.writers import write_safetensors, write_safetensors_file, write_torch

# What UER-py reads from a model JSON without a default of its own.
UER_KEYS = (
    "emb_size",
    "feedforward_size",
    "hidden_size",
    "hidden_act",
    "heads_num",
    "layers_num",
    "decoder_layers_num",
    "max_seq_length",
    "dropout",
    "embedding",
    "encoder",
    "mask",
    "layernorm_positioning",
    "target",
)


@dataclass(frozen=True)
class Export:
    """What was written.

    Attributes:
        family, head: None where they were not needed.
        tensors, parameters: numbers of both (tied tensors are counted once as parameters).
        dropped: names that were not converted.
        notes: sentences for the user.
        difference: largest difference of logits between both sides; None: not verified.
    """

    family: str | None
    head: str | None
    tensors: int
    parameters: int
    dropped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    difference: Difference | None = None


def export_huggingface(
    model: OurModel, output: Path, family_name: str | None, choice: Choice, extras: Extras, verify: bool | None
) -> Export:
    """Write the folder `output`."""
    siamese = model.config.encoder == "dual"
    if siamese:
        model = one_stream(model, choice.ignore)
    where = str(model.path)
    name = family_name or (model.family.name if model.family else None)
    family = family_of(model.config, where, name)
    if choice.head is None and model.head in family.heads:
        choice = replace(choice, head=model.head)
    standard = model.with_layernorm("normal")
    mapped = map_to_theirs(family, standard.tensors, standard.config, choice, where)
    _refuse_pooling(family.heads[mapped.head].architecture, model.config, where)
    with staged(output) as temporary:
        write_huggingface(temporary, output.name, family, standard.config, mapped, extras)
        write_remainder(temporary, standard.tensors)
        if siamese or (mapped.head == "none" and saved_pooling(extras.tokenizer_folder)):
            write_sentence_transformers(temporary, standard.config)
        is_loose = siamese or has_other_eps(model.config, family)
        difference = verified(model, lambda: from_theirs(model, temporary, family, mapped.head), verify, is_loose)
        publish_folder(temporary, output)
    dropped = (*model.dropped, *mapped.dropped)
    notes = (*model.notes, *mapped.notes, *_notes(model.config, family, extras))
    return Export(
        family.name, mapped.head, len(mapped.tensors), count_elements(mapped.tensors), dropped, notes, difference
    )


def export_ours(
    model: OurModel,
    output: Path,
    to: str,
    layernorm: str | None,
    extras: Extras,
    verify: bool | None,
    era: str = PRESENT,
) -> Export:
    """Write the file `output` with its model JSON beside it, or a folder of safetensors."""
    written = model.with_layernorm(layernorm) if layernorm else model
    tensors = with_names_of(era, written.tensors, written.config)
    with staged(output) as temporary:
        if not writes_file(output, to):
            write_safetensors(temporary, tensors, extras.shard_bytes)
            write_json(temporary / "config.json", written.config.to_dict())
            extras.kept.write(temporary / THEIR_IDS)
            if extras.tokenizer is not None:
                save_tokenizer(temporary, extras.tokenizer)
        else:
            write_file = write_torch if to == "uer" else write_safetensors_file
            write_file(temporary / output.name, tensors)
            write_json(temporary / beside(output, CONFIG).name, uer_json(written.config))
            _write_beside(temporary, output, extras)
        is_file = writes_file(output, to)
        place = temporary / output.name if is_file else temporary
        is_loose = model.config.encoder == "dual" or written.config != model.config
        difference = verified(model, lambda: from_written(model, place, verify), verify, is_loose)
        (publish_files if is_file else publish_folder)(temporary, output)
    name = model.family.name if model.family else None
    notes = list(model.notes)
    if difference and model.family and not has_reference(model):
        notes.append(
            "the written file was compared with the tensors that were read, not with transformers, which needs a "
            "folder with config.json"
        )
    if to == "uer" and written.config.layernorm == "normal" and layernorm is None:
        notes.append(
            "the layer norms are standard ones, and UER-py has a form of its own (they differ by 1 / (2 hidden size)); "
            "--layernorm uer changes the scales so that UER-py computes the same"
        )
    parameters = count_elements(written.tensors)
    return Export(name, model.head, len(tensors), parameters, model.dropped, tuple(notes), difference)


def writes_file(output: Path, to: str) -> bool:
    """Whether `output` becomes one file with others beside it; otherwise it becomes a folder."""
    return to == "uer" or (to == "safetensors" and output.suffix == ".safetensors")


def _write_beside(folder: Path, output: Path, extras: Extras) -> None:
    """Label names and the vocabulary, called like the weights: `x_labels.json`, `x_vocab.txt`, `x_spm.model`."""
    extras.kept.write(beside(folder / output.name, THEIR_IDS))
    if extras.labels:
        write_json(folder / beside(output, LABELS).name, numbered(extras.labels))
    for option, content in extras.vocabulary().items():
        beside(folder / output.name, THEIR_NAMES[option]).write_bytes(content)


def uer_json(config: ModelConfig) -> dict[str, Any]:
    """A configuration as UER-py needs it: keys that it has no default for are written out."""
    stated = {key: getattr(config, key) for key in UER_KEYS if getattr(config, key) is not None}
    return {key: list(value) if isinstance(value, tuple) else value for key, value in stated.items()} | config.to_dict()


def _refuse_pooling(architecture: str, config: ModelConfig, where: str) -> None:
    if architecture.endswith("ForSequenceClassification") and config.pooling != "first":
        raise UserError(
            f"{where}: pooling is {config.pooling!r}, but {architecture} reads the first token; "
            "export the encoder alone with --head none."
        )


def _notes(config: ModelConfig, family: Family, extras: Extras) -> tuple[str, ...]:
    notes = []
    if config.layernorm == "uer":
        notes.append("UER-py's layer norm was folded into the standard one (gamma times sqrt((n - 1) / n))")
    eps = family.fixed_layernorm_eps
    if eps and config.layernorm_eps != eps:
        notes.append(
            f"Hugging Face's {family.name} has the layer norm epsilon {eps:g} built in, this model has "
            f"{config.layernorm_eps:g}: the weights are exact, the outputs differ a little"
        )
    if extras.tokenizer is None and extras.tokenizer_folder is None:
        notes.append("no tokenizer was written: none came with the input; give --vocab_path or --spm_model_path")
    return tuple(notes)
