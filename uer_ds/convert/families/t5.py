"""T5, T5 v1.1 and mT5: encoder and decoder with relative positions and without biases.

Their T5 v1.0 multiplies the decoder's output by H^-0.5 before a tied output layer, UER-py never does: the factor is
folded into the last layer norm of the decoder. v1.1 and mT5 have no factor, and their output layer is always written
out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from uer_ds.config.model import ModelConfig
from uer_ds.convert.families.bert import WORD_TABLE
from uer_ds.convert.families.family import ACTIVATIONS, Copies, Family, Head, Tie, our_activation
from uer_ds.convert.rules import Rule, rule
from uer_ds.convert.transforms import scale_output
from uer_ds.errors import UserError
from uer_ds.storage.lazy import LazyTensor

OUTPUT = "target.lm.output_layer.weight"
LAST_NORM = "decoder.layer_norm.weight"
TABLES = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")


def attention(ours: str, theirs: str) -> tuple[Rule, ...]:
    """The four matrices of one attention."""
    pairs = [(f"linear_layers.{number}", name) for number, name in enumerate("qkv")] + [("final_linear", "o")]
    return tuple(rule(f"{ours}.{left}.weight", f"{theirs}.{right}.weight") for left, right in pairs)


def feed_forward(ours: str, theirs: str, gated: bool) -> tuple[Rule, ...]:
    """The two or three matrices of a feed-forward layer."""
    pairs = [("linear_1", "wi"), ("linear_2", "wo")]
    if gated:
        pairs = [("linear_gate", "wi_0"), ("linear_1", "wi_1"), ("linear_2", "wo")]
    return tuple(
        rule(f"{ours}.feed_forward.{left}.weight", f"{theirs}.DenseReluDense.{right}.weight") for left, right in pairs
    )


def rules(gated: bool) -> tuple[Rule, ...]:
    """The table."""
    encoder, decoder = "encoder.transformer.{e}", "decoder.transformer_decoder.{d}"
    blocks, targets = "encoder.block.{e}.layer", "decoder.block.{d}.layer"
    bias = "relative_attention_bias.weight"
    return (
        rule(WORD_TABLE, "shared.weight"),
        rule(f"encoder.relative_pos_emb.{bias}", f"encoder.block.0.layer.0.SelfAttention.{bias}"),
        *attention(f"{encoder}.self_attn", f"{blocks}.0.SelfAttention"),
        rule(f"{encoder}.layer_norm_1.weight", f"{blocks}.0.layer_norm.weight"),
        *feed_forward(encoder, f"{blocks}.1", gated),
        rule(f"{encoder}.layer_norm_2.weight", f"{blocks}.1.layer_norm.weight"),
        rule("encoder.layer_norm.weight", "encoder.final_layer_norm.weight"),
        rule(f"decoder.self_pos_emb.{bias}", f"decoder.block.0.layer.0.SelfAttention.{bias}"),
        *attention(f"{decoder}.self_attn", f"{targets}.0.SelfAttention"),
        rule(f"{decoder}.layer_norm_1.weight", f"{targets}.0.layer_norm.weight"),
        *attention(f"{decoder}.context_attn", f"{targets}.1.EncDecAttention"),
        rule(f"{decoder}.layer_norm_2.weight", f"{targets}.1.layer_norm.weight"),
        *feed_forward(decoder, f"{targets}.2", gated),
        rule(f"{decoder}.layer_norm_3.weight", f"{targets}.2.layer_norm.weight"),
        rule(LAST_NORM, "decoder.final_layer_norm.weight"),
    )


def heads(architecture: str) -> dict[str, Head]:
    """The one head; files of models without it are taken as tied."""
    output = rule(OUTPUT, "lm_head.weight", optional=True)  # absent where tied
    return {"lm": Head(architecture, (output,), ("lm",), "t5")}


def is_scaled(theirs: Mapping[str, Any]) -> bool:
    """Whether their model scales the decoder's output; before transformers 5 being tied said so."""
    return bool(theirs.get("scale_decoder_outputs", theirs.get("tie_word_embeddings") is not False))


def fold_scale(tensors: dict[str, LazyTensor], config: ModelConfig, tied: bool) -> None:
    """Ours to theirs: undo in advance what their tied model multiplies."""
    if tied:
        assert config.hidden_size is not None
        scale_output(tensors, LAST_NORM, config.hidden_size**0.5)


def take_scale(tensors: dict[str, LazyTensor], theirs: Mapping[str, Any]) -> None:
    """Theirs to ours: the factor becomes part of the last norm."""
    if is_scaled(theirs) and OUTPUT in tensors:
        scale_output(tensors, LAST_NORM, tensors[WORD_TABLE].shape[-1] ** -0.5)


def config_to_theirs(config: ModelConfig) -> dict[str, Any]:
    """The form of the feed-forward layer and the width of a head."""
    gated = config.feed_forward == "gated"
    name = ACTIVATIONS[config.hidden_act]
    if gated and name == "gelu":
        raise UserError("hidden_act is 'gelu' in a gated layer, where Hugging Face's T5 has 'gelu_fast' only.")
    name = {"gelu_new": "gelu"}.get(name, name) if gated else name
    return {"feed_forward_proj": f"gated-{name}" if gated else name, "d_kv": config.head_size}


def config_to_ours(theirs: Mapping[str, Any]) -> dict[str, Any]:
    """The activation out of the form of the feed-forward layer."""
    form = str(theirs.get("feed_forward_proj") or "relu")
    name = "gelu_new" if form == "gated-gelu" else form.removeprefix("gated-")
    return {"hidden_act": our_activation(name)}


T5 = Family(
    name="t5",
    model_types=("t5",),
    structure={
        "remove_embedding_layernorm": True,
        "layernorm_positioning": "pre",
        "layernorm": "t5",
        "decoder": "transformer",
        "relative_position_embedding": True,
        "share_embedding": True,
        "remove_attention_scale": True,
        "remove_transformer_bias": True,
    },
    prefix="",
    rules=rules(gated=False),
    heads=heads("T5ForConditionalGeneration"),
    config_names={
        "vocab_size": ("vocab_size",),
        "hidden_size": ("d_model",),
        "feedforward_size": ("d_ff",),
        "layers_num": ("num_layers",),
        "decoder_layers_num": ("num_decoder_layers",),
        "heads_num": ("num_heads",),
        "layernorm_eps": ("layer_norm_epsilon",),
        "dropout": ("dropout_rate",),
        "relative_attention_buckets_num": ("relative_attention_num_buckets",),
        "attention_head_size": ("d_kv",),
    },
    constants={"relative_attention_max_distance": 128, "is_encoder_decoder": True},
    their_defaults={"layer_norm_epsilon": 1e-6},
    free=frozenset({"attention_head_size"}),
    special_ids={"decoder_start_token_id": "cls", "eos_token_id": "sep", "pad_token_id": "pad"},
    ties=(Tie("tgt_embedding.word.embedding.weight", WORD_TABLE, always=True), Tie(OUTPUT, WORD_TABLE)),
    copies=(Copies("shared.weight", TABLES),),
    unused=(r"decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight",),
    defaults={"hidden_act": "relu"},
    more_to_theirs=config_to_theirs,
    more_to_ours=config_to_ours,
    prepare=fold_scale,
    finish=take_scale,
)

T5_V1_1 = dataclasses.replace(
    T5,
    name="t5-v1_1",
    structure={**T5.structure, "feed_forward": "gated"},
    rules=rules(gated=True),
    defaults={"hidden_act": "gelu_fast"},
    ties_output=False,
    prepare=Family.prepare,
)

MT5 = dataclasses.replace(
    T5_V1_1, name="mt5", model_types=("mt5",), heads=heads("MT5ForConditionalGeneration"), finish=Family.finish
)
