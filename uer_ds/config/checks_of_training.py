"""Contradictions between what a model sees and what it is trained for: decoder, ties, directions, targets.

Part of `uer_ds.config.checks`. The question behind most of them: does a head see the answer it has to give, or
nothing of what it has to judge?
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from uer_ds.errors import UserError
from uer_ds.objective_specs import OBJECTIVE_SPECS

if TYPE_CHECKING:
    from uer_ds.config.model import ModelConfig

ONE_WAY = ("rnn", "lstm", "gru", "gatedcnn")
TWO_WAY = ("birnn", "bilstm", "bigru")
CAUSAL_MASKS = ("causal", "causal_with_prefix")
WITH_PREFIX = ("prefixlm", "llm_sft")


def check_training(config: ModelConfig) -> None:
    """Raise UserError for the first contradiction in `config`, which has all of its sizes."""
    _check_embeddings(config)
    _check_decoder(config)
    _check_without_effect(config)
    _check_tying(config)
    _check_directions(config)
    _check_first_token(config)
    _check_objective(config)


def sees_only_the_past(config: ModelConfig) -> bool:
    """Whether the first position of a row knows nothing of the others (under a prefix: of those behind the prefix)."""
    if config.encoder == "transformer":
        return config.mask in CAUSAL_MASKS
    return config.encoder in ONE_WAY and not config.bidirectional


def notes_on(config: ModelConfig) -> list[str]:
    """What a configuration says to no effect, where UER-py's own files say it too and so nobody is refused."""
    if config.tie_weights and config.target and not {"mlm", "lm"} & set(config.target):
        return [f"tie_weights without effect: target {' '.join(config.target)} has no matrix over the vocabulary"]
    return []


def _check_embeddings(config: ModelConfig) -> None:
    for key in ("embedding", "tgt_embedding") if config.decoder else ("embedding",):
        parts = getattr(config, key)
        if "word" not in parts or "dual" in parts:
            raise UserError(
                f"{key} is {' '.join(parts) or 'empty'}; expected word and what is added to it, for example word pos."
            )


def _check_decoder(config: ModelConfig) -> None:
    if config.decoder is None:
        if config.data_processor and OBJECTIVE_SPECS[config.data_processor].decoder:
            raise UserError(
                f"data_processor {config.data_processor!r} makes source and target sequences, but there is no decoder; "
                "set decoder to transformer."
            )
        return
    if config.emb_size != config.hidden_size:
        raise UserError(
            f"emb_size {config.emb_size} differs from hidden_size {config.hidden_size}, but a decoder reads embeddings "
            "of the width of its layers; make them equal."
        )
    if config.encoder == "transformer" and config.mask != "fully_visible":
        raise UserError(
            f"mask is {config.mask!r}, but a decoder reads a source that is seen whole; set mask to fully_visible "
            "(the decoder itself is always causal)."
        )
    if config.target != ("lm",):
        raise UserError(
            f"target is {' '.join(config.target) or 'empty'}, but a decoder is trained as a language model; "
            "set target to lm."
        )


def _check_without_effect(config: ModelConfig) -> None:
    """Switches for parts that the model does not have. (What UER-py's own files say so is in `notes_on`.)"""
    for key in ("share_embedding", "decoder_layers_num", "tgt_vocab_size"):
        if getattr(config, key) and not config.decoder:
            raise UserError(f"{key} is {getattr(config, key)}, but there is no decoder; remove it or set decoder.")
    targets = " ".join(config.target)
    for key in ("has_lmtarget_bias", "label_smoothing"):
        if getattr(config, key) and config.target and not {"lm", "bilm"} & set(config.target):
            raise UserError(f"{key} is {getattr(config, key)}, but target {targets} is no language model; remove it.")
    if config.tie_weights and "bilm" in config.target:
        raise UserError(
            "tie_weights ties the output matrix of target mlm or lm, but target is bilm, whose matrix has half the "
            "width; remove it."
        )


def _check_tying(config: ModelConfig) -> None:
    width = config.emb_size if config.factorized_embedding_parameterization else config.hidden_size
    if config.tie_weights and "mlm" in config.target and config.emb_size != width:
        raise _unequal_widths(config, "mlm")
    if config.tie_weights and "lm" in config.target and config.emb_size != config.hidden_size:
        raise _unequal_widths(config, "lm")
    source, target = config.vocab_size, config.tgt_vocab_size
    if config.share_embedding and source and target and source != target:
        raise UserError(
            f"share_embedding is set, but vocab_size is {source} and tgt_vocab_size {target}; use one vocabulary."
        )


def _unequal_widths(config: ModelConfig, target: str) -> UserError:
    return UserError(
        f"tie_weights ties the output matrix of target {target!r} (width hidden_size {config.hidden_size}) to the word "
        f"table (width emb_size {config.emb_size}); make them equal or remove tie_weights."
    )


def _check_directions(config: ModelConfig) -> None:
    """A target that predicts from both sides must see both; one that predicts the next token must not see it."""
    transformer = config.encoder == "transformer"
    if "mlm" in config.target and transformer and config.mask != "fully_visible":
        raise UserError(
            f"target 'mlm' predicts from both sides, but mask is {config.mask!r}; set mask to fully_visible."
        )
    if "bilm" in config.target and config.encoder not in TWO_WAY:
        raise UserError(
            f"target 'bilm' reads two stacks that never see each other, but encoder is {config.encoder!r}; "
            f"expected {', '.join(TWO_WAY)}."
        )
    if "lm" not in config.target or config.decoder:
        return
    if transformer and config.mask == "fully_visible":
        raise UserError(
            "target 'lm' predicts the next token, but mask fully_visible shows it; "
            "set mask to causal or causal_with_prefix."
        )
    if not transformer and not sees_only_the_past(config):
        kind = "bidirectional " if config.bidirectional else ""
        raise UserError(
            f"target 'lm' predicts the next token, but encoder {kind}{config.encoder!r} reads it; use target bilm with "
            f"{', '.join(TWO_WAY)}, or one of {', '.join(ONE_WAY)}."
        )


def _check_first_token(config: ModelConfig) -> None:
    """Heads that read the first token need one that has seen the text."""
    if not sees_only_the_past(config):
        return
    blind = f"mask {config.mask!r}" if config.encoder == "transformer" else f"encoder {config.encoder!r}"
    if "sp" in config.target:
        raise UserError(
            f"target 'sp' judges two texts by the first token, which under {blind} does not see them; "
            "set mask to fully_visible, or use target cls with pooling last or mean."
        )
    if "cls" in config.target and config.pooling == "first" and config.mask != "causal_with_prefix":
        raise UserError(
            f"pooling is 'first' and target has cls, but under {blind} the first token sees nothing of the text; "
            "set pooling to last or mean."
        )


def _check_objective(config: ModelConfig) -> None:
    """The objective makes what the mask and the targets need."""
    if config.labels_num is None and "cls" in config.target:
        raise UserError("target 'cls' needs labels_num (the number of classes).")
    if config.data_processor is None:
        return
    if config.data_processor not in WITH_PREFIX:
        _refuse_prefix(config)
    labels = OBJECTIVE_SPECS[config.data_processor].targets
    for target in config.target:
        if target not in labels:
            makers = ", ".join(spec.name for spec in OBJECTIVE_SPECS.values() if target in spec.targets)
            raise UserError(
                f"target {target!r} has no labels in data_processor {config.data_processor!r}; "
                f"use data_processor {makers}, or target {' '.join(sorted(labels))}."
            )


def _refuse_prefix(config: ModelConfig) -> None:
    """Without a prefix the whole row has segment 1, which causal_with_prefix shows to everyone."""
    others = f"use data_processor {' or '.join(WITH_PREFIX)}"
    if config.prefix_lm_loss:
        raise UserError(
            f"prefix_lm_loss is set, but data_processor {config.data_processor!r} makes no prefix; remove it, or "
            f"{others}."
        )
    if config.encoder == "transformer" and config.mask == "causal_with_prefix":
        raise UserError(
            f"mask is 'causal_with_prefix', but data_processor {config.data_processor!r} makes no prefix, so every "
            f"token would see all others; set mask to causal, or {others}."
        )
