"""BERT and its Chinese RoBERTa sizes: masked LM with or without sentence prediction, and the fine-tuned heads."""

from __future__ import annotations

from uer_ds.convert.families.family import Copies, Family, Head, Tie
from uer_ds.convert.rules import Rule, layer_norm, linear, rule
from uer_ds.convert.transforms import SEGMENTS, join_segments

WORD_TABLE = "embedding.word.embedding.weight"

EMBEDDINGS = (
    rule(WORD_TABLE, "bert.embeddings.word_embeddings.weight"),
    rule("embedding.pos.embedding.weight", "bert.embeddings.position_embeddings.weight"),
    rule("embedding.seg.embedding.weight", "bert.embeddings.token_type_embeddings.weight", SEGMENTS),
    *layer_norm("embedding.layer_norm", "bert.embeddings.LayerNorm"),
)


def layer_rules(ours: str, theirs: str) -> tuple[Rule, ...]:
    """One layer of the encoder (patterns of its names on both sides)."""
    return (
        *linear(f"{ours}.self_attn.linear_layers.0", f"{theirs}.attention.self.query"),
        *linear(f"{ours}.self_attn.linear_layers.1", f"{theirs}.attention.self.key"),
        *linear(f"{ours}.self_attn.linear_layers.2", f"{theirs}.attention.self.value"),
        *linear(f"{ours}.self_attn.final_linear", f"{theirs}.attention.output.dense"),
        *layer_norm(f"{ours}.layer_norm_1", f"{theirs}.attention.output.LayerNorm"),
        *linear(f"{ours}.feed_forward.linear_1", f"{theirs}.intermediate.dense"),
        *linear(f"{ours}.feed_forward.linear_2", f"{theirs}.output.dense"),
        *layer_norm(f"{ours}.layer_norm_2", f"{theirs}.output.LayerNorm"),
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
        "bert",
    ),
    "mlm": Head("BertForMaskedLM", MLM, ("mlm",), "mlm"),
    "classification": Head(
        "BertForSequenceClassification", (*linear("output_layer_1", POOLER), *linear("output_layer_2", "classifier"))
    ),
    "cls": Head(
        "BertForSequenceClassification",
        (*linear("target.cls.linear_1", POOLER), *linear("target.cls.linear_2", "classifier")),
        ("cls",),
        "cls",
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
    "vocab_size": ("vocab_size",),
    "hidden_size": ("hidden_size",),
    "feedforward_size": ("intermediate_size",),
    "layers_num": ("num_hidden_layers",),
    "heads_num": ("num_attention_heads",),
    "max_seq_length": ("max_position_embeddings",),
    "layernorm_eps": ("layer_norm_eps",),
    "dropout": ("hidden_dropout_prob", "attention_probs_dropout_prob"),
    "hidden_act": ("hidden_act",),
}

BERT = Family(
    name="bert",
    model_types=("bert",),
    structure={"embedding": ("word", "pos", "seg")},
    prefix="bert.",
    rules=(*EMBEDDINGS, *layer_rules("encoder.transformer.{e}", "bert.encoder.layer.{e}")),
    heads=HEADS,
    config_names=CONFIG_NAMES,
    constants={"position_embedding_type": "absolute", "is_decoder": False, "add_cross_attention": False},
    their_defaults={"layer_norm_eps": 1e-12, "hidden_act": "gelu"},
    rows_in_config={"type_vocab_size": "bert.embeddings.token_type_embeddings.weight"},
    ties=(Tie("target.mlm.linear_2.weight", WORD_TABLE),),
    copies=(Copies("cls.predictions.decoder.bias", ("cls.predictions.bias",), written="always"),),
    unused=(r"bert\.embeddings\.(position|token_type)_ids",),
    prepare=lambda tensors, config, tied: join_segments(tensors),
)
