"""BERT and its Chinese RoBERTa sizes: masked LM with or without sentence prediction, and the fine-tuned heads."""

from __future__ import annotations

from typing import Any

from uer_ds.config.model import ModelConfig
from uer_ds.convert.families.family import ACTIVATIONS, Copies, Family, Head, Tie, our_activation
from uer_ds.convert.rules import layer_norm, linear, rule
from uer_ds.convert.transforms import SEGMENTS

WORD_TABLE = "embedding.word.embedding.weight"

EMBEDDINGS = (
    rule(WORD_TABLE, "bert.embeddings.word_embeddings.weight"),
    rule("embedding.pos.embedding.weight", "bert.embeddings.position_embeddings.weight"),
    rule("embedding.seg.embedding.weight", "bert.embeddings.token_type_embeddings.weight", SEGMENTS),
    *layer_norm("embedding.layer_norm", "bert.embeddings.LayerNorm"),
)

OURS, THEIRS = "encoder.transformer.{e}", "bert.encoder.layer.{e}"
LAYERS = (
    *linear(f"{OURS}.self_attn.linear_layers.0", f"{THEIRS}.attention.self.query"),
    *linear(f"{OURS}.self_attn.linear_layers.1", f"{THEIRS}.attention.self.key"),
    *linear(f"{OURS}.self_attn.linear_layers.2", f"{THEIRS}.attention.self.value"),
    *linear(f"{OURS}.self_attn.final_linear", f"{THEIRS}.attention.output.dense"),
    *layer_norm(f"{OURS}.layer_norm_1", f"{THEIRS}.attention.output.LayerNorm"),
    *linear(f"{OURS}.feed_forward.linear_1", f"{THEIRS}.intermediate.dense"),
    *linear(f"{OURS}.feed_forward.linear_2", f"{THEIRS}.output.dense"),
    *layer_norm(f"{OURS}.layer_norm_2", f"{THEIRS}.output.LayerNorm"),
)

MLM = (
    *linear("target.mlm.linear_1", "cls.predictions.transform.dense"),
    *layer_norm("target.mlm.layer_norm", "cls.predictions.transform.LayerNorm"),
    rule("target.mlm.linear_2.weight", "cls.predictions.decoder.weight", optional=True),  # absent where tied
    rule("target.mlm.linear_2.bias", "cls.predictions.decoder.bias"),
)

POOLER = "bert.pooler.dense"
HEADS = {
    "mlm_sp": Head(
        "BertForPreTraining",
        (*MLM, *linear("target.sp.linear_1", POOLER), *linear("target.sp.linear_2", "cls.seq_relationship")),
        ("mlm", "sp"),
    ),
    "mlm": Head("BertForMaskedLM", MLM, ("mlm",)),
    "classification": Head(
        "BertForSequenceClassification", (*linear("output_layer_1", POOLER), *linear("output_layer_2", "classifier"))
    ),
    "cls": Head(
        "BertForSequenceClassification",
        (*linear("target.cls.linear_1", POOLER), *linear("target.cls.linear_2", "classifier")),
        ("cls",),
    ),
    "sp": Head(
        "BertForNextSentencePrediction",
        (*linear("target.sp.linear_1", POOLER), *linear("target.sp.linear_2", "cls.seq_relationship")),
        ("sp",),
    ),
    "question_answering": Head("BertForQuestionAnswering", tuple(linear("output_layer", "qa_outputs"))),
    "token_classification": Head("BertForTokenClassification", tuple(linear("output_layer", "classifier"))),
    "none": Head("BertModel"),
}

CONFIG_NAMES = {
    "vocab_size": "vocab_size",
    "hidden_size": "hidden_size",
    "feedforward_size": "intermediate_size",
    "layers_num": "num_hidden_layers",
    "heads_num": "num_attention_heads",
    "max_seq_length": "max_position_embeddings",
    "layernorm_eps": "layer_norm_eps",
    "dropout": "hidden_dropout_prob",
}


def config_to_theirs(config: ModelConfig) -> dict[str, Any]:
    """Sizes and switches in Hugging Face's names."""
    values = {theirs: getattr(config, ours) for ours, theirs in CONFIG_NAMES.items()}
    return values | {
        "hidden_act": ACTIVATIONS[config.hidden_act],
        "attention_probs_dropout_prob": config.dropout,
        "type_vocab_size": 2,
    }


def config_to_ours(config: dict[str, Any]) -> dict[str, Any]:
    """Sizes and switches in our names."""
    config = {"layer_norm_eps": 1e-12, "hidden_act": "gelu", **config}
    values = {ours: config[theirs] for ours, theirs in CONFIG_NAMES.items() if theirs in config}
    return values | {"hidden_act": our_activation(config["hidden_act"])}


BERT = Family(
    name="bert",
    model_types=("bert",),
    structure={"embedding": ("word", "pos", "seg")},
    prefix="bert.",
    rules=(*EMBEDDINGS, *LAYERS),
    heads=HEADS,
    config_to_theirs=config_to_theirs,
    config_to_ours=config_to_ours,
    config_names=CONFIG_NAMES,
    ties=(Tie("target.mlm.linear_2.weight", WORD_TABLE),),
    copies=(Copies("cls.predictions.decoder.bias", ("cls.predictions.bias",), written=True),),
    unused=(r"bert\.embeddings\.(position|token_type)_ids",),
    defaults={"hidden_act": "gelu", "mask": "fully_visible"},
)
