"""Contradictions in a model configuration, found before anything is allocated; each error names the keys.

`check_model` runs whenever a `ModelConfig` is made. Symbols: E emb_size, H hidden_size, A heads_num.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from uer_ds.errors import UserError
from uer_ds.objective_specs import OBJECTIVE_SPECS

if TYPE_CHECKING:
    from uer_ds.config.model import ModelConfig

ONE_WAY = ("rnn", "lstm", "gru", "gatedcnn")
WITH_PREFIX = ("prefixlm", "llm_sft")
TWO_WAY = ("birnn", "bilstm", "bigru")


def check_model(config: ModelConfig) -> None:
    """Raise UserError for the first contradiction in `config`."""
    if not 0.0 <= config.dropout < 1.0:
        raise UserError(f"dropout is {config.dropout}; expected a number from 0 up to, not including, 1.")
    if config.encoder == "dual" or "dual" in config.embedding:
        _check_dual(config)
        return
    _check_given(config)
    _check_widths(config)
    _check_decoder(config)
    _check_tying(config)
    _check_directions(config)
    _check_targets(config)


def _check_dual(config: ModelConfig) -> None:
    if config.encoder != "dual" or config.embedding != ("dual",):
        raise UserError(
            f"encoder is {config.encoder!r} and embedding {' '.join(config.embedding)}; "
            "a model of two streams has 'dual' for both."
        )
    if config.stream_0 is None or config.stream_1 is None:
        raise UserError("encoder is 'dual' but stream_0 or stream_1 is missing; give both as objects of model keys.")


def _check_given(config: ModelConfig) -> None:
    """Sizes that the chosen parts need are there, and all sizes are positive."""
    needed = ["emb_size", "hidden_size", "layers_num", "max_seq_length", "relative_attention_buckets_num"]
    if config.encoder == "transformer" or config.decoder:
        needed += ["heads_num", "feedforward_size"]
    if config.encoder == "gatedcnn":
        needed += ["kernel_size", "block_size"]
    for key in needed:
        if getattr(config, key) is None:
            part = f"decoder {config.decoder!r}" if config.decoder else f"encoder {config.encoder!r}"
            raise UserError(f"{key} is missing; {part} needs it.")
    optional = ("vocab_size", "tgt_vocab_size", "attention_head_size", "local_kv_heads_num", "decoder_layers_num")
    for key in (*needed, *optional, "labels_num"):
        value = getattr(config, key)
        if value is not None and value < 1:
            raise UserError(f"{key} is {value}; expected a positive integer.")
    if not config.embedding:
        raise UserError("embedding is empty; name at least one part, for example word.")


def _check_widths(config: ModelConfig) -> None:
    assert config.hidden_size is not None and config.emb_size is not None
    if config.encoder == "transformer":
        _check_heads(config)
        if config.emb_size != config.hidden_size and not config.factorized_embedding_parameterization:
            raise UserError(
                f"emb_size {config.emb_size} differs from hidden_size {config.hidden_size}; "
                "make them equal or set factorized_embedding_parameterization."
            )
    elif config.factorized_embedding_parameterization:
        raise UserError(
            f"factorized_embedding_parameterization is set, but encoder {config.encoder!r} has no projection from "
            "emb_size to hidden_size; remove it."
        )
    halves = config.encoder in TWO_WAY or "bilm" in config.target or config.bidirectional
    if halves and config.hidden_size % 2:
        raise UserError(
            f"hidden_size {config.hidden_size} is odd, but encoder {config.encoder!r} halves it; give an even number."
        )
    if "sinusoidalpos" in (*config.embedding, *config.tgt_embedding) and config.emb_size % 2:
        raise UserError(f"embedding has sinusoidalpos, which needs an even emb_size, found {config.emb_size}.")


def _check_heads(config: ModelConfig) -> None:
    assert config.hidden_size is not None and config.heads_num is not None
    if config.attention_head_size is None and config.hidden_size % config.heads_num:
        raise UserError(
            f"hidden_size {config.hidden_size} is not a multiple of heads_num {config.heads_num}; "
            "change one of them or give attention_head_size."
        )
    if config.local_kv_heads_num and config.heads_num % config.local_kv_heads_num:
        raise UserError(
            f"heads_num {config.heads_num} is not a multiple of local_kv_heads_num {config.local_kv_heads_num}."
        )
    if config.rotary_position_embedding and config.head_size % 2:
        raise UserError(
            f"rotary_position_embedding needs an even head size, found {config.head_size}; "
            "change hidden_size, heads_num or attention_head_size."
        )


def _check_decoder(config: ModelConfig) -> None:
    if config.decoder is None:
        if config.data_processor and OBJECTIVE_SPECS[config.data_processor].decoder:
            raise UserError(
                f"data_processor {config.data_processor!r} makes source and target sequences, but there is no decoder; "
                "set decoder to transformer."
            )
        return
    if not config.tgt_embedding:
        raise UserError("decoder is set but tgt_embedding is empty; name its parts, for example word pos.")
    if config.emb_size != config.hidden_size:
        raise UserError(
            f"emb_size {config.emb_size} differs from hidden_size {config.hidden_size}, but a decoder reads embeddings "
            "of the width of its layers; make them equal."
        )
    _check_heads(config)
    if config.target != ("lm",):
        raise UserError(
            f"target is {' '.join(config.target) or 'empty'}, but a decoder is trained as a language model; "
            "set target to lm."
        )


def _check_tying(config: ModelConfig) -> None:
    for switch, output, parts in _shared_tables(config):
        if "word" not in parts:
            raise UserError(
                f"{switch} is set, but there is no word table to share: {output} needs embedding part word."
            )
    width = config.emb_size if config.factorized_embedding_parameterization else config.hidden_size
    if config.tie_weights and "mlm" in config.target and config.emb_size != width:
        raise _unequal_widths(config, "mlm")
    if config.tie_weights and "lm" in config.target and config.emb_size != config.hidden_size:
        raise _unequal_widths(config, "lm")
    source, target = config.vocab_size, config.tgt_vocab_size
    if config.decoder and config.share_embedding and source and target and source != target:
        raise UserError(
            f"share_embedding is set, but vocab_size is {source} and tgt_vocab_size {target}; use one vocabulary."
        )


def _shared_tables(config: ModelConfig) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """(switch, what uses the table, embedding parts that must hold it)."""
    if config.tie_weights and {"mlm", "lm"} & set(config.target):
        yield "tie_weights", "the output matrix", config.tgt_embedding if config.decoder else config.embedding
    if config.decoder and config.share_embedding:
        yield "share_embedding", "the encoder", config.embedding
        yield "share_embedding", "the decoder", config.tgt_embedding


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
    if not transformer and (config.encoder not in ONE_WAY or config.bidirectional):
        kind = "bidirectional " if config.bidirectional else ""
        raise UserError(
            f"target 'lm' predicts the next token, but encoder {kind}{config.encoder!r} reads it; use target bilm with "
            f"{', '.join(TWO_WAY)}, or one of {', '.join(ONE_WAY)}."
        )


def _check_targets(config: ModelConfig) -> None:
    if config.labels_num is None and "cls" in config.target:
        raise UserError("target 'cls' needs labels_num (the number of classes).")
    if not 0.0 <= config.label_smoothing < 1.0:
        raise UserError(f"label_smoothing is {config.label_smoothing}; expected a number from 0 up to 1.")
    if config.data_processor is None:
        return
    if config.prefix_lm_loss and config.data_processor not in WITH_PREFIX:
        raise UserError(
            f"prefix_lm_loss is set, but data_processor {config.data_processor!r} makes no prefix; remove it, or use "
            f"data_processor {' or '.join(WITH_PREFIX)}."
        )
    labels = OBJECTIVE_SPECS[config.data_processor].targets
    for target in config.target:
        if target not in labels:
            makers = ", ".join(spec.name for spec in OBJECTIVE_SPECS.values() if target in spec.targets)
            raise UserError(
                f"target {target!r} has no labels in data_processor {config.data_processor!r}; "
                f"use data_processor {makers}, or target {' '.join(sorted(labels))}."
            )
