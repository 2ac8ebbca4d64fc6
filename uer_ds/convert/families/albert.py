"""ALBERT: BERT with a factorised embedding and one layer used L times."""

from __future__ import annotations

from uer_ds.convert.families.bert import CONFIG_NAMES, WORD_TABLE
from uer_ds.convert.families.family import Copies, Family, Head, Tie
from uer_ds.convert.rules import layer_norm, linear, rule
from uer_ds.convert.transforms import SEGMENTS, join_segments

OURS, THEIRS = "encoder.transformer", "albert.encoder.albert_layer_groups.0.albert_layers.0"
RULES = (
    rule(WORD_TABLE, "albert.embeddings.word_embeddings.weight"),
    rule("embedding.pos.embedding.weight", "albert.embeddings.position_embeddings.weight"),
    rule("embedding.seg.embedding.weight", "albert.embeddings.token_type_embeddings.weight", SEGMENTS),
    *layer_norm("embedding.layer_norm", "albert.embeddings.LayerNorm"),
    *linear("encoder.linear", "albert.encoder.embedding_hidden_mapping_in"),
    *linear(f"{OURS}.self_attn.linear_layers.0", f"{THEIRS}.attention.query"),
    *linear(f"{OURS}.self_attn.linear_layers.1", f"{THEIRS}.attention.key"),
    *linear(f"{OURS}.self_attn.linear_layers.2", f"{THEIRS}.attention.value"),
    *linear(f"{OURS}.self_attn.final_linear", f"{THEIRS}.attention.dense"),
    *layer_norm(f"{OURS}.layer_norm_1", f"{THEIRS}.attention.LayerNorm"),
    *linear(f"{OURS}.feed_forward.linear_1", f"{THEIRS}.ffn"),
    *linear(f"{OURS}.feed_forward.linear_2", f"{THEIRS}.ffn_output"),
    *layer_norm(f"{OURS}.layer_norm_2", f"{THEIRS}.full_layer_layer_norm"),
)

MLM = (
    *linear("target.mlm.linear_1", "predictions.dense"),
    *layer_norm("target.mlm.layer_norm", "predictions.LayerNorm"),
    rule("target.mlm.linear_2.weight", "predictions.decoder.weight", optional=True),  # absent where tied
    rule("target.mlm.linear_2.bias", "predictions.decoder.bias"),
)

POOLER = "albert.pooler"
HEADS = {
    "mlm_sp": Head(
        "AlbertForPreTraining",
        (*MLM, *linear("target.sp.linear_1", POOLER), *linear("target.sp.linear_2", "sop_classifier.classifier")),
        ("mlm", "sp"),
        "albert",
    ),
    "mlm": Head("AlbertForMaskedLM", MLM, ("mlm",), "mlm"),
    "classification": Head(
        "AlbertForSequenceClassification", (*linear("output_layer_1", POOLER), *linear("output_layer_2", "classifier"))
    ),
    "cls": Head(
        "AlbertForSequenceClassification",
        (*linear("target.cls.linear_1", POOLER), *linear("target.cls.linear_2", "classifier")),
        ("cls",),
        "cls",
    ),
    "question_answering": Head("AlbertForQuestionAnswering", tuple(linear("output_layer", "qa_outputs"))),
    "token_classification": Head("AlbertForTokenClassification", tuple(linear("output_layer", "classifier"))),
    "none": Head("AlbertModel"),
}

ALBERT = Family(
    name="albert",
    model_types=("albert",),
    structure={
        "embedding": ("word", "pos", "seg"),
        "factorized_embedding_parameterization": True,
        "parameter_sharing": True,
    },
    prefix="albert.",
    rules=RULES,
    heads=HEADS,
    config_names={**CONFIG_NAMES, "emb_size": ("embedding_size",)},
    constants={"num_hidden_groups": 1, "inner_group_num": 1},
    their_defaults={"layer_norm_eps": 1e-12, "hidden_act": "gelu_new"},
    rows_in_config={"type_vocab_size": "albert.embeddings.token_type_embeddings.weight"},
    ties=(Tie("target.mlm.linear_2.weight", WORD_TABLE),),
    copies=(Copies("predictions.decoder.bias", ("predictions.bias",), written="always"),),
    unused=(r"albert\.embeddings\.(position|token_type)_ids",),
    prepare=lambda tensors, config, tied: join_segments(tensors),
    defaults={"hidden_act": "relu"},
)
