"""Where fine-tuning begins: tokenizer, model configuration and weights, from whatever checkpoint is given.

UER-py `.bin` files of any year, safetensors, pre-training checkpoints and Hugging Face folders are told apart by the
converter's reader. Heads of the old task are left out; what the new one needs and the file lacks is drawn anew and
said.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from uer_ds.config.checks_of_training import sees_only_the_past
from uer_ds.config.data import TokenizerConfig
from uer_ds.config.model import ModelConfig, model_config_from_dict
from uer_ds.config.resources import DEFAULT_MODEL
from uer_ds.convert.formats import Checkpoint, open_checkpoint
from uer_ds.convert.infer import refuse_contradictions
from uer_ds.convert.our_model import OurModel, read_our_model
from uer_ds.convert.sbert import two_streams
from uer_ds.convert.sizes import Hints
from uer_ds.errors import UserError
from uer_ds.finetune.vocabulary import find_tokenizer
from uer_ds.models.zoo import model_place, model_values
from uer_ds.storage.lazy import LazyTensor
from uer_ds.tokenizers import Tokenizer

TWO_STREAMS = tuple(f"embedding.dual.embedding_0.{part}.embedding.weight" for part in ("word", "pos"))
"""Names that tell a model of two streams."""


WITHOUT_EFFECT = ("target", "decoder", "tgt_embedding", "share_embedding", "tie_weights")
"""Options of the model that UER-py's command lines have and that a task may not need."""


@dataclass(frozen=True)
class Start:
    """A model to fine-tune.

    Attributes:
        config: the body, with the pre-training heads that the task keeps.
        tokenizer: of its vocabulary.
        source: weights by our names; empty for random ones.
        labels: names of the classes, where the weights came with them.
        notes: for people.
        folder: where other files of the model lie; None: there is none.
    """

    config: ModelConfig
    tokenizer: Tokenizer
    source: dict[str, LazyTensor]
    labels: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    folder: Path | None = None


class Needs(Protocol):
    """What is asked of a model: a `Task`, or something else that has these two."""

    @property
    def tokenizer(self) -> str | None:
        """The only kind of tokenizer that fits, or None."""
        ...

    @property
    def target(self) -> tuple[str, ...]:
        """The model's own heads that are needed; with lm the decoder stays too."""
        ...


def find_start(
    task: Needs,
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
    stated = None
    if config_path or not pretrained:
        stated = model_values(config_path or DEFAULT_MODEL, "--config_path")
    checkpoint = open_checkpoint(pretrained) if pretrained else None
    found = _read(checkpoint, stated, config_path) if checkpoint else None
    folder = checkpoint.folder if checkpoint else None
    texts = find_tokenizer(task.tokenizer, folder, tokenizer, tokenizer_given)
    values = dict(found.config.to_dict() if found else stated or {})
    is_fine_tuned = checkpoint is not None and checkpoint.task is not None
    explicit_pooling = "pooling" in given or "pooling" in (stated or {}) or is_fine_tuned
    values = {**values, **given, "vocab_size": _vocab_size(values, texts, pretrained)}
    parts = _parts_for(task, values)
    config = model_config_from_dict({**values, **parts}, pretrained or config_path or DEFAULT_MODEL)
    config, notes = _pooled(config, explicit_pooling, task)
    labels = tuple(checkpoint.labels or ()) if checkpoint else ()
    source = _kept(found.tensors, config) if found else {}
    return Start(config, texts, source, labels, (*notes, *_idle(given, parts)), folder)


def _pooled(config: ModelConfig, explicit: bool, task: Needs) -> tuple[ModelConfig, list[str]]:
    """The configuration with a pooling that sees the text, and what to say about it."""
    if config.pooling != "first" or not sees_only_the_past(config) or "lm" in task.target:
        return config, []
    if not explicit:
        note = "pooling    last: under a causal mask the first token sees nothing of the text"
        return config.replace(pooling="last"), [note]
    asked = "pooling    first, as asked: under a causal mask all texts will look the same; use last or mean"
    return config, [] if task.target else [asked]


def _idle(given: dict[str, Any], parts: dict[str, Any]) -> list[str]:
    """What to say about options that the task replaces. Raises UserError for those that mean something else here."""
    idle = [name for name, value in given.items() if name in parts and value != parts[name]]
    for name in idle:
        if name not in WITHOUT_EFFECT:
            raise UserError(f"--{name} is for pre-training; fine-tuning finds out by itself, leave it out.")
    return [f"--{name}".ljust(10) + " has no effect: the task has a head of its own" for name in idle]


def _kept(tensors: Mapping[str, LazyTensor], config: ModelConfig) -> dict[str, LazyTensor]:
    """Without the decoder, where the task reads with the encoder alone."""
    dropped = () if config.decoder else ("decoder.", "tgt_embedding.")
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(dropped)}


def _read(checkpoint: Checkpoint, stated: dict[str, Any] | None, config_path: str | None) -> OurModel:
    """The checkpoint under our names; as both streams where the JSON `stated` has two and the checkpoint has one."""
    pair = (stated or {}).get("stream_0") if not any(name in TWO_STREAMS for name in checkpoint.tensors) else None
    if stated is not None and not (checkpoint.config or {}).get("model_type"):
        place = Path(model_place(str(config_path), "--config_path"))
        checkpoint = replace(checkpoint, config=_without_size(pair) if pair else stated, config_path=place)
    found = read_our_model(checkpoint, Hints())
    if pair is None or stated is None:
        return found
    refuse_contradictions(_without_size(pair), found.config.to_dict(), str(config_path), {})
    both = two_streams(found)
    own = {key: stated[key] for key in ("pooling", "dropout", "tie_weights") if key in stated}
    return replace(both, config=both.config.replace(**own))


def _without_size(values: dict[str, Any]) -> dict[str, Any]:
    """Without the size of the vocabulary, which the weights tell."""
    return {key: value for key, value in values.items() if key != "vocab_size"}


def _vocab_size(values: dict[str, Any], tokenizer: Tokenizer, pretrained: str | None) -> int:
    size = values.get("vocab_size")
    if size is not None and size != tokenizer.vocab_size:
        raise UserError(
            f"{pretrained or 'the model JSON'}: has a vocabulary of {size} tokens, but {tokenizer.vocabulary.source} "
            f"has {tokenizer.vocab_size}; give the vocabulary that the model was trained with."
        )
    return tokenizer.vocab_size


def _parts_for(task: Needs, values: dict[str, Any]) -> dict[str, Any]:
    """The model's own heads that the task keeps; a decoder stays only with the lm head."""
    parts: dict[str, Any] = {"target": task.target, "data_processor": None, "labels_num": None}
    if "lm" not in task.target:
        parts.update(decoder=None, tgt_embedding=("word",), share_embedding=False, tgt_vocab_size=None)
        parts.update(decoder_layers_num=None, has_lmtarget_bias=False, label_smoothing=0.0)
    if not task.target and values.get("encoder") != "dual":  # which ties its streams
        parts["tie_weights"] = False
    return parts
