"""Where fine-tuning begins: tokenizer, model configuration and weights, from whatever checkpoint is given.

UER-py `.bin` files of any year, safetensors, pre-training checkpoints and Hugging Face folders are told apart by the
converter's reader. Heads of the old task are left out; what the new one needs and the file lacks is drawn anew and
said.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uer_ds.config.checks_of_training import sees_only_the_past
from uer_ds.config.data import TokenizerConfig
from uer_ds.config.model import ModelConfig, model_config_from_dict, read_json_object
from uer_ds.config.resources import find_json
from uer_ds.convert.formats import open_checkpoint
from uer_ds.convert.our_model import OurModel, read_our_model
from uer_ds.convert.sizes import Hints
from uer_ds.convert.tokenizer_files import saved_tokenizer
from uer_ds.errors import UserError
from uer_ds.finetune.task import Task
from uer_ds.storage.lazy import LazyTensor
from uer_ds.tokenizers import Tokenizer, load_tokenizer

DEFAULT_MODEL = "bert/base_config"


@dataclass(frozen=True)
class Start:
    """A model to fine-tune: `source` are its weights by our names, empty for random ones; `notes` are for people."""

    config: ModelConfig
    tokenizer: Tokenizer
    source: dict[str, LazyTensor]
    labels: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def find_start(
    task: Task,
    pretrained: str | None,
    config_path: str | None,
    given: dict[str, Any],
    tokenizer: TokenizerConfig,
    tokenizer_given: bool,
) -> Start:
    """Open what the options name.

    Args:
        task: decides which of the model's own heads stay.
        pretrained: weights, or None.
        config_path: model JSON or the name of one, or None.
        given: model keys on the command line; they go before all others.
        tokenizer: tokenizer options; used when `tokenizer_given`, else the checkpoint's own.
    """
    found = _open(pretrained, config_path) if pretrained else None
    texts = _tokenizer(task, Path(pretrained) if pretrained else None, tokenizer, tokenizer_given)
    values = dict(found.config.to_dict() if found else _json_of(config_path))
    explicit_pooling = "pooling" in given or (config_path is not None and "pooling" in values)
    values = {**values, **given, "vocab_size": _vocab_size(values, texts, pretrained)}
    values = {**values, **_parts_for(task, values)}
    notes = []
    config = model_config_from_dict(values, pretrained or config_path or DEFAULT_MODEL)
    if not explicit_pooling and config.pooling == "first" and sees_only_the_past(config):
        config = config.replace(pooling="last")
        notes.append("pooling    last: under a causal mask the first token sees nothing of the text")
    elif config.pooling == "first" and sees_only_the_past(config) and not task.target:
        notes.append("pooling    first, as asked: under a causal mask all texts will look the same; use last or mean")
    labels = tuple(found_labels) if found and (found_labels := _labels(pretrained)) else ()
    source = _kept(found.tensors, config) if found else {}
    return Start(config, texts, source, labels, tuple(notes))


def _kept(tensors: Mapping[str, LazyTensor], config: ModelConfig) -> dict[str, LazyTensor]:
    """Without the decoder, where the task reads with the encoder alone."""
    dropped = () if config.decoder else ("decoder.", "tgt_embedding.")
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(dropped)}


def _open(pretrained: str, config_path: str | None) -> OurModel:
    json_path = find_json("models", config_path, "--config_path") if config_path else None
    checkpoint = open_checkpoint(pretrained, None)
    if json_path is not None and not (checkpoint.config or {}).get("model_type"):
        checkpoint = open_checkpoint(pretrained, json_path)
    return read_our_model(checkpoint, Hints())


def _labels(pretrained: str | None) -> list[str] | None:
    return open_checkpoint(pretrained).labels if pretrained else None


def _json_of(config_path: str | None) -> dict[str, Any]:
    return read_json_object(find_json("models", config_path or DEFAULT_MODEL, "--config_path"))


def _tokenizer(task: Task, folder: Path | None, options: TokenizerConfig, given: bool) -> Tokenizer:
    kind = task.tokenizer or options.tokenizer
    lower = options.do_lower_case == "true"
    if given or folder is None:
        return load_tokenizer(
            kind,
            options.vocab_path,
            options.spm_model_path,
            options.merges_path,
            lower,
            options.special_tokens_map_path,
        )
    saved = saved_tokenizer(folder) if folder.is_dir() else None
    if saved is not None and task.tokenizer in (None, saved.kind):
        return saved
    vocabulary = folder / "tokenizer" / "vocab.txt" if saved is not None else folder / "vocab.txt"
    if vocabulary.is_file():
        return load_tokenizer(kind, vocabulary, do_lower_case=lower)
    raise UserError(f"{folder}: no vocabulary came with these weights; give --vocab_path or --spm_model_path.")


def _vocab_size(values: dict[str, Any], tokenizer: Tokenizer, pretrained: str | None) -> int:
    size = values.get("vocab_size")
    if size is not None and size != tokenizer.vocab_size:
        raise UserError(
            f"{pretrained or 'the model JSON'}: has a vocabulary of {size} tokens, but {tokenizer.vocabulary.source} "
            f"has {tokenizer.vocab_size}; give the vocabulary that the model was trained with."
        )
    return tokenizer.vocab_size


def _parts_for(task: Task, values: dict[str, Any]) -> dict[str, Any]:
    """The model's own heads that the task keeps; a decoder stays only with the lm head."""
    parts: dict[str, Any] = {"target": task.target, "data_processor": None, "labels_num": None}
    if "lm" not in task.target:
        parts.update(decoder=None, tgt_embedding=("word",), share_embedding=False, tgt_vocab_size=None)
        parts.update(decoder_layers_num=None, has_lmtarget_bias=False, label_smoothing=0.0)
    if not task.target:
        parts["tie_weights"] = False
    return parts
