"""GPT-2: a causal transformer with layer norms before the sub-layers; their matrices are transposed."""

from __future__ import annotations

from uer_ds.convert.families.bert import WORD_TABLE
from uer_ds.convert.families.family import LAST_TOKEN_HEADS, Family, Head, Tie
from uer_ds.convert.rules import Rule, layer_norm, linear, rule
from uer_ds.convert.transforms import STACKED_BIASES, STACKED_MATRICES, TRANSPOSED

OURS, THEIRS = "encoder.transformer.{e}", "transformer.h.{e}"
QUERY_KEY_VALUE = tuple(f"{OURS}.self_attn.linear_layers.{n}" for n in range(3))
RULES = (
    rule(WORD_TABLE, "transformer.wte.weight"),
    rule("embedding.pos.embedding.weight", "transformer.wpe.weight"),
    Rule(tuple(f"{name}.weight" for name in QUERY_KEY_VALUE), (f"{THEIRS}.attn.c_attn.weight",), STACKED_MATRICES),
    Rule(tuple(f"{name}.bias" for name in QUERY_KEY_VALUE), (f"{THEIRS}.attn.c_attn.bias",), STACKED_BIASES),
    *linear(f"{OURS}.self_attn.final_linear", f"{THEIRS}.attn.c_proj", TRANSPOSED),
    *layer_norm(f"{OURS}.layer_norm_1", f"{THEIRS}.ln_1"),
    *linear(f"{OURS}.feed_forward.linear_1", f"{THEIRS}.mlp.c_fc", TRANSPOSED),
    *linear(f"{OURS}.feed_forward.linear_2", f"{THEIRS}.mlp.c_proj", TRANSPOSED),
    *layer_norm(f"{OURS}.layer_norm_2", f"{THEIRS}.ln_2"),
    *layer_norm("encoder.layer_norm", "transformer.ln_f"),
)

OUTPUT = "target.lm.output_layer.weight"

GPT2 = Family(
    name="gpt2",
    model_types=("gpt2",),
    structure={
        "embedding": ("word", "pos"),
        "remove_embedding_layernorm": True,
        "mask": "causal",
        "layernorm_positioning": "pre",
    },
    prefix="transformer.",
    rules=RULES,
    heads={
        "lm": Head("GPT2LMHeadModel", (rule(OUTPUT, "lm_head.weight", optional=True),), ("lm",), "lm"),
        "none": Head("GPT2Model"),
    },
    lacks=LAST_TOKEN_HEADS,
    config_names={
        "vocab_size": ("vocab_size",),
        "hidden_size": ("n_embd",),
        "feedforward_size": ("n_inner",),
        "layers_num": ("n_layer",),
        "heads_num": ("n_head",),
        "max_seq_length": ("n_positions",),
        "layernorm_eps": ("layer_norm_epsilon",),
        "dropout": ("resid_pdrop", "embd_pdrop", "attn_pdrop"),
        "hidden_act": ("activation_function",),
    },
    constants={"scale_attn_weights": True, "scale_attn_by_inverse_layer_idx": False, "add_cross_attention": False},
    their_defaults={"layer_norm_epsilon": 1e-5, "activation_function": "gelu_new"},
    special_ids={"bos_token_id": "cls", "eos_token_id": "sep", "pad_token_id": "pad"},
    ties=(Tie(OUTPUT, WORD_TABLE),),
    unused=(r"transformer\.h\.\d+\.attn\.(masked_)?bias",),
    defaults={"hidden_act": "gelu_fast"},
)
