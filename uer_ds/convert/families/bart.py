"""BART and Pegasus: encoder and decoder with biases; learned positions here, sinusoids there.

Hugging Face's classes fix the epsilon of their layer norms at 1e-5; a model with another one keeps its weights and
differs a little. Pegasus's table of positions is written out as our model computes it, so any of the three layouts
comes through (UER-py's own script writes one that its model does not use).
"""

from __future__ import annotations

import functools

import numpy as np
import torch

from uer_ds.config.model import ModelConfig
from uer_ds.convert.families.bert import WORD_TABLE
from uer_ds.convert.families.family import Copies, Family, Head, Tie
from uer_ds.convert.rules import Rule, layer_norm, linear, rule
from uer_ds.convert.transforms import ROW_VECTOR, rows_in_front
from uer_ds.errors import UserError
from uer_ds.storage.lazy import LazyTensor, TensorMap

OUTPUT = "target.lm.output_layer.weight"
ENCODER, DECODER = "model.encoder", "model.decoder"
LAYER_NORM_EPS = 1e-5
SINUSOIDAL_LAYOUTS = ("halves", "interleaved", "uer")  # theirs first
POSITION_TABLES = tuple(f"{side}.embed_positions.weight" for side in (ENCODER, DECODER))


def attention(ours: str, theirs: str) -> tuple[Rule, ...]:
    """The four matrices of one attention."""
    pairs = [("linear_layers.0", "q_proj"), ("linear_layers.1", "k_proj"), ("linear_layers.2", "v_proj")]
    pairs.append(("final_linear", "out_proj"))
    return tuple(item for left, right in pairs for item in linear(f"{ours}.{left}", f"{theirs}.{right}"))


def layers() -> tuple[Rule, ...]:
    """Both stacks of layers."""
    encoder, theirs = "encoder.transformer.{e}", f"{ENCODER}.layers.{{e}}"
    decoder, targets = "decoder.transformer_decoder.{d}", f"{DECODER}.layers.{{d}}"
    return (
        *attention(f"{encoder}.self_attn", f"{theirs}.self_attn"),
        *layer_norm(f"{encoder}.layer_norm_1", f"{theirs}.self_attn_layer_norm"),
        *linear(f"{encoder}.feed_forward.linear_1", f"{theirs}.fc1"),
        *linear(f"{encoder}.feed_forward.linear_2", f"{theirs}.fc2"),
        *layer_norm(f"{encoder}.layer_norm_2", f"{theirs}.final_layer_norm"),
        *attention(f"{decoder}.self_attn", f"{targets}.self_attn"),
        *layer_norm(f"{decoder}.layer_norm_1", f"{targets}.self_attn_layer_norm"),
        *attention(f"{decoder}.context_attn", f"{targets}.encoder_attn"),
        *layer_norm(f"{decoder}.layer_norm_2", f"{targets}.encoder_attn_layer_norm"),
        *linear(f"{decoder}.feed_forward.linear_1", f"{targets}.fc1"),
        *linear(f"{decoder}.feed_forward.linear_2", f"{targets}.fc2"),
        *layer_norm(f"{decoder}.layer_norm_3", f"{targets}.final_layer_norm"),
    )


WORDS = rule(WORD_TABLE, "model.shared.weight")
LEARNED_POSITIONS = (
    rule("embedding.pos.embedding.weight", POSITION_TABLES[0], rows_in_front(2)),
    rule("tgt_embedding.pos.embedding.weight", POSITION_TABLES[1], rows_in_front(2)),
    *layer_norm("embedding.layer_norm", f"{ENCODER}.layernorm_embedding"),
    *layer_norm("tgt_embedding.layer_norm", f"{DECODER}.layernorm_embedding"),
)
LAST_NORMS = (
    *layer_norm("encoder.layer_norm", f"{ENCODER}.layer_norm"),
    *layer_norm("decoder.layer_norm", f"{DECODER}.layer_norm"),
)


def heads(architecture: str, data_processor: str) -> dict[str, Head]:
    """The one head; files of models without it are taken as tied."""
    output = (
        rule(OUTPUT, "lm_head.weight", optional=True),  # absent where tied
        rule("target.lm.output_layer.bias", "final_logits_bias", ROW_VECTOR, optional=True),
    )
    return {"lm": Head(architecture, output, ("lm",), data_processor)}


CONFIG_NAMES = {
    "vocab_size": ("vocab_size",),
    "hidden_size": ("d_model",),
    "feedforward_size": ("encoder_ffn_dim", "decoder_ffn_dim"),
    "layers_num": ("encoder_layers",),
    "decoder_layers_num": ("decoder_layers",),
    "heads_num": ("encoder_attention_heads", "decoder_attention_heads"),
    "max_seq_length": ("max_position_embeddings",),
    "dropout": ("dropout", "attention_dropout"),
    "hidden_act": ("activation_function",),
}
SPECIAL_IDS = {
    "bos_token_id": "cls",
    "decoder_start_token_id": "cls",
    "eos_token_id": "sep",
    "forced_eos_token_id": "sep",
    "pad_token_id": "pad",
}

BART = Family(
    name="bart",
    model_types=("bart",),
    structure={
        "embedding": ("word", "pos"),
        "tgt_embedding": ("word", "pos"),
        "decoder": "transformer",
        "share_embedding": True,
    },
    prefix="model.",
    rules=(WORDS, *LEARNED_POSITIONS, *layers()),
    heads=heads("BartForConditionalGeneration", "bart"),
    config_names=CONFIG_NAMES,
    constants={"scale_embedding": False, "is_encoder_decoder": True},
    their_defaults={"activation_function": "gelu"},
    special_ids=SPECIAL_IDS,
    ties=(Tie("tgt_embedding.word.embedding.weight", WORD_TABLE, always=True), Tie(OUTPUT, WORD_TABLE)),
    copies=(Copies("model.shared.weight", (f"{ENCODER}.embed_tokens.weight", f"{DECODER}.embed_tokens.weight")),),
    free=frozenset({"has_lmtarget_bias"}),
    fixed_layernorm_eps=LAYER_NORM_EPS,
)


def position_table(rows: int, width: int, layout: str) -> torch.Tensor:
    """Sinusoids of our model as a table [rows, width], computed in float64 as `transformers` does, rounded once."""
    half = width // 2
    places = np.arange(rows)[:, None] + (2 if layout == "uer" else 0)
    angles = places / np.power(10000, np.arange(half) / max(half - 1 if layout == "uer" else half, 1))
    if layout == "halves":
        table = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
    else:
        table = np.stack([np.sin(angles), np.cos(angles)], axis=2).reshape(rows, width)
    return torch.from_numpy(table.astype(np.float32))


def written_positions(config: ModelConfig) -> dict[str, LazyTensor]:
    """Their tables of positions, made from our configuration."""
    assert config.emb_size is not None
    rows, width = config.max_seq_length, config.emb_size
    read = functools.partial(position_table, rows, width, config.sinusoidal_layout)
    return {name: LazyTensor((rows, width), torch.float32, read) for name in POSITION_TABLES}


def found_layout(tensors: TensorMap) -> dict[str, str]:
    """Which of the layouts their tables of positions have (the usual one where there is none)."""
    tables = [tensors[name].read() for name in POSITION_TABLES if name in tensors]
    for layout in SINUSOIDAL_LAYOUTS:
        if all(_has_layout(table, layout) for table in tables):
            return {"sinusoidal_layout": layout}
    raise UserError(f"{POSITION_TABLES[0]} is no table of sinusoids; only models with fixed positions are converted.")


def _has_layout(table: torch.Tensor, layout: str) -> bool:
    rounding = 1e-4 if table.dtype == torch.float32 else 1e-2
    if table.ndim != 2:
        return False
    rows, width = table.shape
    return torch.allclose(table.float(), position_table(rows, width, layout), atol=rounding)


PEGASUS = Family(
    name="pegasus",
    model_types=("pegasus",),
    structure={
        "embedding": ("word", "sinusoidalpos"),
        "tgt_embedding": ("word", "sinusoidalpos"),
        "remove_embedding_layernorm": True,
        "layernorm_positioning": "pre",
        "decoder": "transformer",
        "share_embedding": True,
    },
    prefix="model.",
    rules=(WORDS, *LAST_NORMS, *layers()),
    heads=heads("PegasusForConditionalGeneration", "gsg"),
    config_names=CONFIG_NAMES,
    constants={"scale_embedding": True, "is_encoder_decoder": True},
    their_defaults={"activation_function": "gelu"},
    special_ids=SPECIAL_IDS,
    ties=BART.ties,
    copies=BART.copies,
    unused=(r"model\.(encoder|decoder)\.embed_positions\.weight",),
    defaults={"hidden_act": "relu"},
    free=frozenset({"has_lmtarget_bias"}),
    fixed_layernorm_eps=LAYER_NORM_EPS,
    extra_theirs=written_positions,
    values_of_theirs=found_layout,
)
