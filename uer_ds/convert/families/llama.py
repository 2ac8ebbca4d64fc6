"""LLaMA and LLaMA 2: causal, rotary positions, RMS norms, gated layers, grouped queries.

Query and key rows stand in Meta's order here (as in TencentPretrain) and in Hugging Face's there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from uer_ds.config.model import ModelConfig
from uer_ds.convert.families.bert import WORD_TABLE
from uer_ds.convert.families.family import LAST_TOKEN_HEADS, Family, Head, Tie
from uer_ds.convert.rules import Rule, rule
from uer_ds.convert.transforms import rotary_order
from uer_ds.errors import UserError

OURS, THEIRS = "encoder.transformer.{e}", "model.layers.{e}"
RULES = (
    rule(WORD_TABLE, "model.embed_tokens.weight"),
    rule(f"{OURS}.self_attn.linear_layers.2.weight", f"{THEIRS}.self_attn.v_proj.weight"),
    rule(f"{OURS}.self_attn.final_linear.weight", f"{THEIRS}.self_attn.o_proj.weight"),
    rule(f"{OURS}.layer_norm_1.weight", f"{THEIRS}.input_layernorm.weight"),
    rule(f"{OURS}.feed_forward.linear_gate.weight", f"{THEIRS}.mlp.gate_proj.weight"),
    rule(f"{OURS}.feed_forward.linear_1.weight", f"{THEIRS}.mlp.up_proj.weight"),
    rule(f"{OURS}.feed_forward.linear_2.weight", f"{THEIRS}.mlp.down_proj.weight"),
    rule(f"{OURS}.layer_norm_2.weight", f"{THEIRS}.post_attention_layernorm.weight"),
    rule("encoder.layer_norm.weight", "model.norm.weight"),
)
OUTPUT = "target.lm.output_layer.weight"
ROPE_THETA = 10000.0


def query_and_key(head_size: int) -> tuple[Rule, ...]:
    """The matrices whose rows are reordered within each head."""
    order = rotary_order(head_size)
    return (
        rule(f"{OURS}.self_attn.linear_layers.0.weight", f"{THEIRS}.self_attn.q_proj.weight", order),
        rule(f"{OURS}.self_attn.linear_layers.1.weight", f"{THEIRS}.self_attn.k_proj.weight", order),
    )


def config_to_theirs(config: ModelConfig) -> dict[str, Any]:
    """Groups, width of a head and rotation."""
    return {
        "num_key_value_heads": config.local_kv_heads_num or config.heads_num,
        "head_dim": config.head_size,
        "rope_theta": ROPE_THETA,
    }


def config_to_ours(theirs: Mapping[str, Any]) -> dict[str, Any]:
    """A rotation that differs from LLaMA 1 and 2 is refused."""
    rope = theirs.get("rope_parameters") or theirs.get("rope_scaling") or {}
    if not isinstance(rope, dict):
        raise UserError(f"config.json: rope_parameters is {rope!r}; expected an object.")
    kind = rope.get("rope_type", rope.get("type", "default"))
    theta = rope.get("rope_theta", theirs.get("rope_theta", ROPE_THETA))
    if kind != "default" or theta != ROPE_THETA:
        raise UserError(
            f"config.json: rotary positions of kind {kind!r} with theta {theta}; only {ROPE_THETA:g} is known."
        )
    return {}


LLAMA = Family(
    name="llama",
    model_types=("llama",),
    structure={
        "remove_embedding_layernorm": True,
        "rotary_position_embedding": True,
        "mask": "causal",
        "layernorm_positioning": "pre",
        "layernorm": "rms",
        "feed_forward": "gated",
        "remove_transformer_bias": True,
    },
    prefix="model.",
    rules=RULES,
    rules_by_head_size=query_and_key,
    query="model.layers.0.self_attn.q_proj.weight",
    lacks=LAST_TOKEN_HEADS,
    free=frozenset({"local_kv_heads_num", "attention_head_size"}),
    heads={
        "lm": Head("LlamaForCausalLM", (rule(OUTPUT, "lm_head.weight", optional=True),), ("lm",), "lm"),
        "none": Head("LlamaModel"),
    },
    config_names={
        "vocab_size": ("vocab_size",),
        "hidden_size": ("hidden_size",),
        "feedforward_size": ("intermediate_size",),
        "layers_num": ("num_hidden_layers",),
        "heads_num": ("num_attention_heads",),
        "local_kv_heads_num": ("num_key_value_heads",),
        "attention_head_size": ("head_dim",),
        "max_seq_length": ("max_position_embeddings",),
        "layernorm_eps": ("rms_norm_eps",),
        "dropout": ("attention_dropout",),
        "hidden_act": ("hidden_act",),
    },
    constants={"attention_bias": False, "mlp_bias": False},
    their_defaults={"rms_norm_eps": 1e-6, "hidden_act": "silu", "max_position_embeddings": 2048},
    special_ids={"bos_token_id": "cls", "eos_token_id": "sep"},
    ties=(Tie(OUTPUT, WORD_TABLE),),
    unused=(r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq", r"model\.rotary_emb\.inv_freq"),
    defaults={"hidden_act": "silu"},
    more_to_theirs=config_to_theirs,
    more_to_ours=config_to_ours,
)
