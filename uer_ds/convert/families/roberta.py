"""XLM-RoBERTa and RoBERTa: BERT whose positions begin after the padding id, with one segment.

UER-py's own script puts their single segment row on segment 2, so that ordinary texts (segment 1) miss it; here both
segments get it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F

from uer_ds.config.model import ModelConfig
from uer_ds.convert.families.bert import CONFIG_NAMES, WORD_TABLE, layer_rules
from uer_ds.convert.families.family import Copies, Family, Head, Tie
from uer_ds.convert.rules import layer_norm, linear, rule
from uer_ds.convert.transforms import SEGMENT_TABLE, SEGMENTS, join_segments, rows_in_front
from uer_ds.errors import UserError
from uer_ds.storage.lazy import LazyTensor

PUBLIC_ROWS = 514  # of the position table in the public models
PADDING_ID = 1  # positions begin at the padding id plus one
POSITIONS = "embedding.pos.embedding.weight"

RULES = (
    rule(WORD_TABLE, "roberta.embeddings.word_embeddings.weight"),
    rule(POSITIONS, "roberta.embeddings.position_embeddings.weight", rows_in_front(PADDING_ID + 1)),
    rule(SEGMENT_TABLE, "roberta.embeddings.token_type_embeddings.weight", SEGMENTS),
    *layer_norm("embedding.layer_norm", "roberta.embeddings.LayerNorm"),
    *layer_rules("encoder.transformer.{e}", "roberta.encoder.layer.{e}"),
)

MLM = (
    *linear("target.mlm.linear_1", "lm_head.dense"),
    *layer_norm("target.mlm.layer_norm", "lm_head.layer_norm"),
    rule("target.mlm.linear_2.weight", "lm_head.decoder.weight", optional=True),  # absent where tied
    rule("target.mlm.linear_2.bias", "lm_head.decoder.bias"),
)


def heads(prefix: str) -> dict[str, Head]:
    """The heads, with classes called `prefix`."""
    pair = "classifier.dense", "classifier.out_proj"
    return {
        "mlm": Head(f"{prefix}ForMaskedLM", MLM, ("mlm",), "mlm"),
        "classification": Head(
            f"{prefix}ForSequenceClassification",
            (*linear("output_layer_1", pair[0]), *linear("output_layer_2", pair[1])),
        ),
        "cls": Head(
            f"{prefix}ForSequenceClassification",
            (*linear("target.cls.linear_1", pair[0]), *linear("target.cls.linear_2", pair[1])),
            ("cls",),
            "cls",
        ),
        "question_answering": Head(f"{prefix}ForQuestionAnswering", tuple(linear("output_layer", "qa_outputs"))),
        "token_classification": Head(f"{prefix}ForTokenClassification", tuple(linear("output_layer", "classifier"))),
        "none": Head(f"{prefix}Model"),
    }


def prepare(tensors: dict[str, LazyTensor], config: ModelConfig, tied: bool) -> None:
    """Cut the unused rows of UER-py's tables of positions; one segment row where both are equal."""
    positions = tensors[POSITIONS]
    if positions.shape[0] == PUBLIC_ROWS and not positions.read()[-(PADDING_ID + 1) :].any():
        tensors[POSITIONS] = positions.map(lambda table: table[: -(PADDING_ID + 1)])
    join_segments(tensors)


def finish(tensors: dict[str, LazyTensor], theirs: Mapping[str, Any]) -> None:
    """Public models get the two unused rows at the end that UER-py's configuration files count."""
    if tensors[POSITIONS].shape[0] == PUBLIC_ROWS - (PADDING_ID + 1):
        tensors[POSITIONS] = tensors[POSITIONS].map(lambda table: F.pad(table, (0, 0, 0, PADDING_ID + 1)))


def refuse_other_activations(config: ModelConfig) -> dict[str, Any]:
    """Their mlm head has gelu built in."""
    if "mlm" in config.target and config.hidden_act != "gelu":
        raise UserError(
            f"hidden_act is {config.hidden_act!r}, but RoBERTa's mlm head has 'gelu'; choose --family bert."
        )
    return {}


XLM_ROBERTA = Family(
    name="xlm-roberta",
    model_types=("xlm-roberta",),
    structure={"embedding": ("word", "pos", "seg")},
    prefix="roberta.",
    rules=RULES,
    heads=heads("XLMRoberta"),
    config_names={ours: theirs for ours, theirs in CONFIG_NAMES.items() if ours != "max_seq_length"},
    constants={
        "position_embedding_type": "absolute",
        "is_decoder": False,
        "add_cross_attention": False,
        "pad_token_id": PADDING_ID,
    },
    their_defaults={"layer_norm_eps": 1e-12, "hidden_act": "gelu"},
    special_ids={"bos_token_id": "cls", "eos_token_id": "sep"},
    rows_in_config={
        "type_vocab_size": "roberta.embeddings.token_type_embeddings.weight",
        "max_position_embeddings": "roberta.embeddings.position_embeddings.weight",
    },
    ties=(Tie("target.mlm.linear_2.weight", WORD_TABLE),),
    copies=(Copies("lm_head.decoder.bias", ("lm_head.bias",), written="always"),),
    unused=(r"roberta\.embeddings\.(position|token_type)_ids",),
    more_to_theirs=refuse_other_activations,
    prepare=prepare,
    finish=finish,
)

ROBERTA = dataclasses.replace(XLM_ROBERTA, name="roberta", model_types=("roberta", "camembert"), heads=heads("Roberta"))
