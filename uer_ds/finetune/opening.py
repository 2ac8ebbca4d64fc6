"""A whole model to work with, from whatever checkpoint is given: for generation and the small tools.

Weights and tokenizer are found as for fine-tuning (`start`), but nothing may be missing: a head that a checkpoint lacks
would be random.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uer_ds.config.data import TokenizerConfig
from uer_ds.config.model import ModelConfig
from uer_ds.convert.tokenizer_files import saved_tokenizer
from uer_ds.engine.inference import PartitionedModel, inference_config
from uer_ds.engine.machine import device
from uer_ds.engine.partitioned import gathered, partitioned
from uer_ds.errors import UserError
from uer_ds.finetune.model import file_name
from uer_ds.finetune.start import Start, find_start
from uer_ds.finetune.vocabulary import find_tokenizer
from uer_ds.models.model import Model, build_model
from uer_ds.models.weights import load_tensors
from uer_ds.storage.places import TARGET_TOKENIZER_FOLDER
from uer_ds.tokenizers import Tokenizer


@dataclass(frozen=True)
class Wanted:
    """What is asked of a model: its heads by name (with lm a decoder stays too), and a kind of tokenizer or None."""

    target: tuple[str, ...] = ()
    tokenizer: str | None = None


@dataclass(frozen=True)
class Source:
    """Where a model comes from: weights, JSON, and what the command line says over it.

    `tokenizer_given` and `target_tokenizer_given` say whether options of theirs were given at all.
    """

    path: str
    config_path: str | None = None
    model: dict[str, Any] | None = None
    tokenizer: TokenizerConfig = TokenizerConfig()
    tokenizer_given: bool = False
    target_tokenizer: TokenizerConfig = TokenizerConfig()
    target_tokenizer_given: bool = False


@dataclass(frozen=True)
class Opened:
    """A model on this process's device, in evaluation mode, and its tokenizers."""

    model: Model | PartitionedModel
    tokenizer: Tokenizer
    target_tokenizer: Tokenizer
    config: ModelConfig
    notes: tuple[str, ...] = ()


def open_model(source: Source, wanted: Wanted, engine: dict[str, Any] | None = None, where: str = "") -> Opened:
    """Read everything that `source` names.

    `engine`: a DeepSpeed JSON of stage 3, from the file `where`: weights are divided over the processes; collective.
    Raises UserError for a checkpoint without one of the heads `wanted`.
    """
    start = open_weights(source, wanted)
    target = _target_tokenizer(source, start)
    config = start.config
    if config.decoder and target is not start.tokenizer:
        config = config.replace(tgt_vocab_size=target.vocab_size)
    model = _loaded(start, config, Path(source.path), engine, where)
    return Opened(model, start.tokenizer, target, config, start.notes)


def open_weights(source: Source, wanted: Wanted) -> Start:
    """What `source` names, tensors unread. Raises UserError where a target that is wanted does not fit."""
    names = source.path, source.config_path, source.model or {}, source.tokenizer, source.tokenizer_given
    try:
        return find_start(wanted, *names)
    except UserError as error:
        raise UserError(f"no model with target {' '.join(wanted.target) or 'none'}: {error}") from None


def _loaded(
    start: Start, config: ModelConfig, path: Path, engine: dict[str, Any] | None, where: str
) -> Model | PartitionedModel:
    tensors = {name: tensor.read for name, tensor in start.source.items()}
    if engine is None:
        model = build_model(config)
        _complete(load_tensors(model, tensors, path, file_name).missing, path)
        return model.to(device()).eval()
    complete = inference_config(engine, where)
    with partitioned(complete, where):
        model = build_model(config)
    _complete(load_tensors(model, tensors, path, file_name, gather=gathered).missing, path)
    return PartitionedModel(model.eval(), complete, where)


def _complete(missing: tuple[str, ...], path: Path) -> None:
    if missing:
        raise UserError(
            f"{path}: has no {', '.join(missing[:3])}, so its answers would be random; give weights that were trained "
            "with this target (fine-tuned files have lost theirs)."
        )


def _target_tokenizer(source: Source, start: Start) -> Tokenizer:
    """The one that was given, that lies with the weights, or the source's."""
    if source.target_tokenizer_given:
        return find_tokenizer(None, None, source.target_tokenizer, True)
    return saved_tokenizer(start.folder, TARGET_TOKENIZER_FOLDER) or start.tokenizer
