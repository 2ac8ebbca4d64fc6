"""Contradictory model configurations are refused when they are read; the error names the keys."""

from __future__ import annotations

from typing import Any

import pytest

from uer_ds.config.model import model_config_from_dict
from uer_ds.errors import UserError

BERT = {"emb_size": 8, "hidden_size": 8, "feedforward_size": 16, "heads_num": 2, "layers_num": 1}
ALBERT = {**BERT, "emb_size": 4, "factorized_embedding_parameterization": True}
LSTM = {"emb_size": 4, "hidden_size": 8, "layers_num": 1, "encoder": "lstm", "target": ["lm"]}
T5 = {**BERT, "decoder": "transformer", "target": ["lm"]}
DUAL = {"encoder": "dual", "embedding": ["dual"], "stream_0": BERT, "stream_1": BERT}

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
    "decoder without target embedding": (T5, {"tgt_embedding": []}, "decoder is set but tgt_embedding is empty"),
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
    "tied to nothing": (BERT, {"tie_weights": True, "embedding": ["pos"]}, "needs embedding part word"),
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
    "no labels": (BERT, {"target": ["cls"]}, "needs labels_num"),
    "smoothing": (BERT, {"label_smoothing": 1.0}, "label_smoothing is 1.0"),
    "one stream": (DUAL, {"stream_1": None}, "stream_1 is missing"),
    "half a dual": (DUAL, {"embedding": ["word"]}, "has 'dual' for both"),
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
        {**BERT, "mask": "causal", "target": ["cls"], "labels_num": 2},
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
