"""Contradictions in a model configuration, found before anything is allocated; each error names the keys.

`check_model` runs whenever a `ModelConfig` is made. Here: sizes and streams; what a model is trained for is
looked at in `uer_ds.config.checks_of_training`. Symbols: E emb_size, H hidden_size, A heads_num.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from uer_ds.config.checks_of_training import TWO_WAY, check_training
from uer_ds.errors import UserError

if TYPE_CHECKING:
    from uer_ds.config.model import ModelConfig

FREE_WHERE_TIED = ("dropout", "vocab_size")
"""What may differ between tied streams: it is no part of their function (the vocabulary is the whole model's)."""

RECURRENT = ("rnn", "lstm", "gru")
"""Encoders that bidirectional is for."""

FEWEST_BUCKETS, TOO_MANY_BUCKETS = 4, 512
"""Of the relative position bias. Half are for either direction (a decoder has one only), half of those for single
distances, and these must end before the last distance that is told apart, 128."""


def check_model(config: ModelConfig) -> None:
    """Raise UserError for the first contradiction in `config`."""
    _check_names(config)
    if config.encoder == "dual" or "dual" in config.embedding:
        _check_dual(config)
        return
    if config.stream_0 is not None or config.stream_1 is not None:
        raise UserError(
            f"stream_0 and stream_1 belong to encoder 'dual', found encoder {config.encoder!r}; "
            "remove them, or set encoder and embedding to dual."
        )
    _check_given(config)
    _check_widths(config)
    check_training(config)


def _check_names(config: ModelConfig) -> None:
    """Each name once."""
    for key in ("embedding", "tgt_embedding", "target"):
        names = getattr(config, key)
        if len(set(names)) < len(names):
            raise UserError(f"{key} is {' '.join(names)}, which names a part twice; name each once.")


def _check_dual(config: ModelConfig) -> None:
    if config.encoder != "dual" or config.embedding != ("dual",):
        raise UserError(
            f"encoder is {config.encoder!r} and embedding {' '.join(config.embedding)}; "
            "a model of two streams has 'dual' for both."
        )
    if config.stream_0 is None or config.stream_1 is None:
        raise UserError("encoder is 'dual' but stream_0 or stream_1 is missing; give both as objects of model keys.")
    if config.target or config.data_processor:
        found = f"target {' '.join(config.target)}" if config.target else f"data_processor {config.data_processor}"
        raise UserError(
            f"encoder is 'dual' and {found}, but a model of two streams has no objective of pre-training; "
            "train it with `uer-ds finetune siamese`."
        )
    if config.decoder:
        raise UserError(f"encoder is 'dual' and decoder {config.decoder!r}, but two streams have none; remove it.")
    _check_streams(config.stream_0, config.stream_1, config.tie_weights)


def _check_streams(first: ModelConfig, second: ModelConfig, tied: bool) -> None:
    for name, stream in (("stream_0", first), ("stream_1", second)):
        for key, wrong in (
            ("encoder", stream.encoder == "dual"),
            ("decoder", stream.decoder),
            ("target", stream.target),
        ):
            if wrong:
                value = getattr(stream, key)
                raise UserError(
                    f"{name} has {key} {value if isinstance(value, str) else ' '.join(value)}, but a stream is one "
                    "embedding and one encoder; remove it there."
                )
    for key in (field.name for field in dataclasses.fields(first)):
        values = getattr(first, key), getattr(second, key)
        if tied and key not in FREE_WHERE_TIED and values[0] != values[1]:
            raise UserError(
                f"tie_weights makes the second stream the first, but {key} is {values[0]} in stream_0 and {values[1]} "
                "in stream_1; make them equal or remove tie_weights."
            )


def _check_given(config: ModelConfig) -> None:
    """Sizes that the chosen parts need are there."""
    needed = ["emb_size", "hidden_size", "layers_num", "max_seq_length", "relative_attention_buckets_num"]
    if config.encoder == "transformer" or config.decoder:
        needed += ["heads_num", "feedforward_size"]
    if config.encoder == "gatedcnn":
        needed += ["kernel_size", "block_size"]
    for key in needed:
        if getattr(config, key) is None:
            part = f"decoder {config.decoder!r}" if config.decoder else f"encoder {config.encoder!r}"
            raise UserError(f"{key} is missing; {part} needs it.")
    _check_buckets(config)


def _check_buckets(config: ModelConfig) -> None:
    if not config.relative_position_embedding:
        return
    most = (TOO_MANY_BUCKETS // 2 if config.decoder else TOO_MANY_BUCKETS) - 1
    if not FEWEST_BUCKETS <= config.relative_attention_buckets_num <= most:
        raise UserError(
            f"relative_attention_buckets_num is {config.relative_attention_buckets_num}; "
            f"expected a number from {FEWEST_BUCKETS} to {most}."
        )


def _check_widths(config: ModelConfig) -> None:
    if config.bidirectional and config.encoder not in RECURRENT:
        raise UserError(
            f"bidirectional is set, but encoder is {config.encoder!r}; it is for {', '.join(RECURRENT)}, remove it."
        )
    assert config.hidden_size is not None and config.emb_size is not None
    if config.encoder == "transformer" or config.decoder:
        _check_heads(config)
    if config.encoder == "transformer":
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
