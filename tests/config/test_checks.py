"""Contradictory model configurations are refused when they are read; the error names the keys."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest

from uer_ds.config.checks_of_training import notes_on
from uer_ds.config.model import ModelConfig, model_config_from_dict
from uer_ds.config.resources import resource_names
from uer_ds.errors import UserError
from uer_ds.models.zoo import load_config
from uer_ds.objective_specs import OBJECTIVE_SPECS

BERT = {"emb_size": 8, "hidden_size": 8, "feedforward_size": 16, "heads_num": 2, "layers_num": 1}
ALBERT = {**BERT, "emb_size": 4, "factorized_embedding_parameterization": True}
LSTM = {"emb_size": 4, "hidden_size": 8, "layers_num": 1, "encoder": "lstm", "target": ["lm"]}
T5 = {**BERT, "decoder": "transformer", "target": ["lm"]}
GPT = {**BERT, "target": ["lm"], "mask": "causal"}
BILM = {**LSTM, "encoder": "bilstm", "target": ["bilm"]}
CLS = {**BERT, "target": ["cls"], "labels_num": 2}
RELATIVE = {**BERT, "relative_position_embedding": True}
DUAL = {"encoder": "dual", "embedding": ["dual"], "stream_0": BERT, "stream_1": BERT}
TIED = {**DUAL, "tie_weights": True}
WIDE = {**BERT, "emb_size": 16, "hidden_size": 16}

CONTRADICTIONS = {
    "heads that do not divide": (BERT, {"heads_num": 3}, "hidden_size 8 is not a multiple of heads_num 3"),
    "key heads that do not divide": (BERT, {"heads_num": 4, "local_kv_heads_num": 3}, "local_kv_heads_num 3"),
    "widths that differ": (BERT, {"emb_size": 4}, "factorized_embedding_parameterization"),
    "no sizes": (BERT, {"feedforward_size": None}, "feedforward_size is missing"),
    "a size of zero": (BERT, {"layers_num": 0}, "layers_num is 0"),
    "no embedding": (BERT, {"embedding": []}, "embedding is empty"),
    "odd heads that rotate": (
        BERT,
        {"attention_head_size": 3, "rotary_position_embedding": True},
        "rotary_position_embedding needs an even head size",
    ),
    "no words": (BERT, {"embedding": ["pos", "seg"]}, "embedding is pos seg; expected word"),
    "a part twice": (
        BERT,
        {"embedding": ["word", "pos", "word"]},
        "embedding is word pos word, which names a part twice",
    ),
    "a target twice": (BERT, {"target": ["mlm", "mlm"]}, "target is mlm mlm"),
    "too few buckets": (RELATIVE, {"relative_attention_buckets_num": 3}, "relative_attention_buckets_num is 3"),
    "too many buckets": (RELATIVE, {"relative_attention_buckets_num": 512}, "expected a number from 4 to 511"),
    "a negative epsilon": (BERT, {"layernorm_eps": -1e-6}, "layernorm_eps is -1e-06"),
    "both directions at once": (BERT, {"bidirectional": True}, "it is for rnn, lstm, gru"),
    "decoder without target embedding": (T5, {"tgt_embedding": []}, "tgt_embedding is empty"),
    "decoder of two streams": (T5, {"tgt_embedding": ["dual"]}, "tgt_embedding is dual; expected word"),
    "decoder behind a causal source": (T5, {"mask": "causal"}, "mask is 'causal', but a decoder reads a source"),
    "decoder behind a prefix": (T5, {"mask": "causal_with_prefix", "data_processor": "bart"}, "is seen whole"),
    "decoder with another target": (T5, {"target": ["mlm"]}, "target is mlm, but a decoder"),
    "decoder of another width": (
        T5,
        {"emb_size": 4, "factorized_embedding_parameterization": True},
        "emb_size 4 differs from hidden_size 8",
    ),
    "sequences without decoder": (T5, {"decoder": None, "data_processor": "t5"}, "there is no decoder"),
    "two vocabularies shared": (
        T5,
        {"share_embedding": True, "vocab_size": 5, "tgt_vocab_size": 6},
        "vocab_size is 5 and tgt_vocab_size 6",
    ),
    "causal mask with mlm": (BERT, {"mask": "causal"}, "target 'mlm' predicts from both sides, but mask is 'causal'"),
    "lm that sees its answer": (BERT, {"target": ["lm"]}, "set mask to causal"),
    "lm that reads backwards": (LSTM, {"bidirectional": True}, "encoder bidirectional 'lstm' reads it"),
    "lm with two directions": (LSTM, {"encoder": "bilstm"}, "use target bilm"),
    "bilm with one direction": (LSTM, {"target": ["bilm"]}, "expected birnn, bilstm, bigru"),
    "odd halves": (LSTM, {"encoder": "bilstm", "target": ["bilm"], "hidden_size": 7}, "hidden_size 7 is odd"),
    "tied widths": (LSTM, {"tie_weights": True}, "width hidden_size 8"),
    "tied halves": (BILM, {"tie_weights": True}, "target is bilm, whose matrix has half the width"),
    "sharing with no decoder": (BERT, {"share_embedding": True}, "share_embedding is True, but there is no decoder"),
    "layers of no decoder": (BERT, {"decoder_layers_num": 2}, "decoder_layers_num is 2"),
    "vocabulary of no decoder": (BERT, {"tgt_vocab_size": 20}, "tgt_vocab_size is 20"),
    "bias of no language model": (BERT, {"has_lmtarget_bias": True}, "target mlm is no language model"),
    "smoothing of no language model": (CLS, {"label_smoothing": 0.1}, "target cls is no language model"),
    "factorised without projection": (
        LSTM,
        {"factorized_embedding_parameterization": True},
        "encoder 'lstm' has no projection",
    ),
    "sp without pairs": (BERT, {"target": ["mlm", "sp"], "data_processor": "mlm"}, "use data_processor bert, albert"),
    "a prefix that nobody makes": (
        {**BERT, "mask": "causal", "target": ["lm"]},
        {"prefix_lm_loss": True, "data_processor": "lm"},
        "data_processor 'lm' makes no prefix",
    ),
    "a mask for a prefix that nobody makes": (
        {**GPT, "data_processor": "lm"},
        {"mask": "causal_with_prefix"},
        "data_processor 'lm' makes no prefix, so every token would see all others",
    ),
    "pairs that are not seen": (GPT, {"target": ["sp"]}, "under mask 'causal' does not see them"),
    "pairs of which one is seen": (GPT, {"target": ["sp"], "mask": "causal_with_prefix"}, "set mask to fully_visible"),
    "pairs before an lstm": (LSTM, {"target": ["sp"]}, "under encoder 'lstm' does not see them"),
    "a text that is not seen": (CLS, {"mask": "causal"}, "set pooling to last or mean"),
    "a text before a gatedcnn": (
        {**CLS, "kernel_size": 3, "block_size": 2},
        {"encoder": "gatedcnn"},
        "pooling is 'first' and target has cls",
    ),
    "no labels": (BERT, {"target": ["cls"]}, "needs labels_num"),
    "smoothing": (BERT, {"label_smoothing": 1.0}, "label_smoothing is 1.0"),
    "one stream": (DUAL, {"stream_1": None}, "stream_1 is missing"),
    "half a dual": (DUAL, {"embedding": ["word"]}, "has 'dual' for both"),
    "streams of one stream": (BERT, {"stream_0": BERT}, "stream_0 and stream_1 belong to encoder 'dual'"),
    "dual with a target": (DUAL, {"target": ["mlm"]}, "train it with `uer-ds finetune siamese`"),
    "dual with an objective": (DUAL, {"data_processor": "mlm"}, "data_processor mlm, but a model of two streams"),
    "dual with a decoder": (DUAL, {"decoder": "transformer"}, "encoder is 'dual' and decoder 'transformer'"),
    "dual in dual": (DUAL, {"stream_1": DUAL}, "stream_1 has encoder dual"),
    "a stream with a target": (DUAL, {"stream_0": {**BERT, "target": ["mlm"]}}, "stream_0 has target mlm"),
    "a stream with a decoder": (DUAL, {"stream_0": T5}, "stream_0 has decoder transformer"),
    "a mistake in a stream": (
        DUAL,
        {"stream_1": {**BERT, "heads_num": 3}},
        "stream_1: hidden_size 8 is not a multiple",
    ),
    "tied streams of other widths": (TIED, {"stream_1": WIDE}, "emb_size is 8 in stream_0 and 16 in stream_1"),
    "tied streams of other depths": (
        TIED,
        {"stream_1": {**BERT, "layers_num": 2}},
        "layers_num is 1 in stream_0 and 2",
    ),
    "tied streams of other kinds": (
        TIED,
        {"stream_1": {**LSTM, "target": []}},
        "make them equal or remove tie_weights",
    ),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_a_contradiction_is_named(name: str) -> None:
    base, change, words = CONTRADICTIONS[name]
    model_config_from_dict(base)
    with pytest.raises(UserError, match=r"^model\.json: ") as caught:
        model_config_from_dict({**base, **change}, "model.json")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "values",
    [
        {**ALBERT, "tie_weights": True, "target": ["mlm", "sp"], "data_processor": "albert"},
        {**CLS, "mask": "causal", "pooling": "last"},
        {**CLS, "tie_weights": True},
        {**GPT, "mask": "causal_with_prefix", "data_processor": "llm_sft"},
        {**RELATIVE, "relative_attention_buckets_num": 4},
        {**TIED, "stream_1": {**BERT, "dropout": 0.5}},
        {**LSTM, "bidirectional": True, "target": ["cls"], "labels_num": 2},
        {**T5, "vocab_size": 5, "tgt_vocab_size": 6, "tie_weights": True},
    ],
)
def test_what_fits_is_taken(values: dict[str, Any]) -> None:
    model_config_from_dict(values)


def test_streams_inherit_what_they_do_not_say() -> None:
    config = model_config_from_dict(
        {**DUAL, "layernorm": "uer", "tie_weights": True, "stream_1": {**BERT, "dropout": 0.5}}
    )
    assert config.target == ()
    assert config.stream_0 is not None and config.stream_1 is not None
    assert (config.stream_0.layernorm, config.stream_0.tie_weights, config.stream_0.target) == ("uer", False, ())
    assert (config.stream_0.dropout, config.stream_1.dropout) == (0.1, 0.5)
    assert model_config_from_dict(config.to_dict()) == config


def test_what_has_no_effect_but_stands_in_files_of_uer_is_said() -> None:
    tied = model_config_from_dict({**CLS, "tie_weights": True})
    assert notes_on(tied) == ["tie_weights without effect: target cls has no matrix over the vocabulary"]
    assert notes_on(model_config_from_dict({**BERT, "tie_weights": True})) == []


@pytest.mark.parametrize("name", resource_names("models"))
def test_every_file_survives_its_json(name: str) -> None:
    config = load_config(name)
    for changes in ({}, {"mask": "causal", "target": []}, {"layernorm": "uer", "dropout": 0.3, "vocab_size": 77}):
        if not (config.decoder and "mask" in changes):
            changed = load_config(name, **({**changes, "data_processor": None} if "target" in changes else changes))
            assert_survives(changed)


DUAL_CHANGES: dict[str, list[Any]] = {
    "mask": ["fully_visible", "causal", "causal_with_prefix"],
    "layernorm": ["normal", "uer", "t5"],
    "layernorm_eps": [1e-6, 1e-12],
    "dropout": [0.0, 0.1, 0.5],
    "embedding": [["word"], ["word", "pos"], ["word", "pos", "seg"]],
    "max_seq_length": [64, 512],
    "hidden_act": ["gelu", "relu"],
    "attention_head_size": [None, 4],
    "layers_num": [1, 3],
    "vocab_size": [None, 30],
    "pooling": ["first", "mean"],
    "relative_position_embedding": [False, True],
}


def test_random_duals_survive_their_json() -> None:
    random = Random(1)

    def some() -> dict[str, Any]:
        return {key: random.choice(values) for key, values in DUAL_CHANGES.items() if random.random() < 0.4}

    for _ in range(300):
        outer = {key: value for key, value in some().items() if key != "embedding"}
        config = model_config_from_dict(
            {**DUAL, **outer, "stream_0": {**BERT, **some()}, "stream_1": {**BERT, **some()}}
        )
        assert_survives(config)


def assert_survives(config: ModelConfig) -> None:
    values = json.loads(json.dumps(config.to_dict()))
    assert model_config_from_dict(values) == config
    assert model_config_from_dict(values).to_dict() == values


def test_objectives_take_what_they_are_for() -> None:
    """Of each objective's own kind of model nothing is refused."""
    for name, spec in OBJECTIVE_SPECS.items():
        base = T5 if spec.decoder else BILM if "bilm" in spec.targets else GPT if "lm" in spec.targets else BERT
        mask = {"mask": spec.mask} if spec.mask else {}
        model_config_from_dict({**base, **mask, "target": list(spec.targets), "labels_num": 2, "data_processor": name})
