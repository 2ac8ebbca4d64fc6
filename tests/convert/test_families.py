"""Every family, both ways: a small random `transformers` model becomes a UER file, runs as our model, and comes back.

Logits agree to 1e-5 in float32; weights come back bit for bit, except where a family folds a factor or has rows that
nothing reads.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from uer_ds.config.model import model_config_from_dict
from uer_ds.convert import convert
from uer_ds.data.batch import Batch
from uer_ds.models.model import Model, build_model
from uer_ds.models.weights import load_weights
from uer_ds.storage.files import read_json_object

from .closeness import within_one_place

transformers = pytest.importorskip("transformers")

VOCABULARY = 40
ENCODER = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 20,
}
ONE_SEGMENT = {**ENCODER, "type_vocab_size": 1, "layer_norm_eps": 1e-5, "pad_token_id": 1}
T5 = {"d_model": 32, "d_ff": 48, "num_heads": 4, "num_layers": 2, "num_decoder_layers": 3, "vocab_size": VOCABULARY}
BART = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 3,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 20,
}
GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 20, "vocab_size": VOCABULARY}
LLAMA = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 64,
}


@dataclass(frozen=True)
class Case:
    """A model of `transformers`; `folded`: names that come back within rounding; `unread`: rows that are not kept.

    `family` is for the way back, where sizes do not tell. `own_output`: an output layer of its own, in a class that
    ties.
    """

    architecture: str
    config: str
    values: dict[str, Any]
    folded: tuple[str, ...] = ()
    unread: dict[str, int] = field(default_factory=dict)
    family: str | None = None
    own_output: bool = False


FRONT_ROWS = {"embed_positions.weight": 2, "roberta.embeddings.position_embeddings.weight": 2}
CASES = {
    "bert": Case("BertForPreTraining", "BertConfig", ENCODER),
    "bert-mlm": Case("BertForMaskedLM", "BertConfig", {**ENCODER, "hidden_act": "relu"}),
    "bert-untied": Case("BertForMaskedLM", "BertConfig", {**ENCODER, "tie_word_embeddings": False}),
    "albert": Case("AlbertForPreTraining", "AlbertConfig", {**ENCODER, "embedding_size": 16}),
    "albert-mlm": Case("AlbertForMaskedLM", "AlbertConfig", {**ENCODER, "embedding_size": 16}),
    "gpt2": Case("GPT2LMHeadModel", "GPT2Config", GPT2),
    "gpt2-untied": Case("GPT2LMHeadModel", "GPT2Config", {**GPT2, "tie_word_embeddings": False, "n_inner": 24}),
    "t5": Case("T5ForConditionalGeneration", "T5Config", {**T5, "d_kv": 8}, ("decoder.final_layer_norm.weight",)),
    "t5-v1_1": Case(
        "T5ForConditionalGeneration",
        "T5Config",
        {**T5, "d_kv": 6, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
        own_output=True,
    ),
    "t5-v1_1-tied": Case(
        "T5ForConditionalGeneration",
        "T5Config",
        {**T5, "d_kv": 6, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
    ),
    "mt5": Case("MT5ForConditionalGeneration", "MT5Config", {**T5, "d_kv": 6}, family="mt5", own_output=True),
    "bart": Case("BartForConditionalGeneration", "BartConfig", BART, unread=FRONT_ROWS),
    "pegasus": Case("PegasusForConditionalGeneration", "PegasusConfig", {**BART, "scale_embedding": True}),
    "xlm-roberta": Case(
        "XLMRobertaForMaskedLM", "XLMRobertaConfig", ONE_SEGMENT, unread=FRONT_ROWS, family="xlm-roberta"
    ),
    "roberta": Case("RobertaForMaskedLM", "RobertaConfig", ONE_SEGMENT, unread=FRONT_ROWS, family="roberta"),
    "llama": Case("LlamaForCausalLM", "LlamaConfig", LLAMA),
    "llama-tied": Case("LlamaForCausalLM", "LlamaConfig", {**LLAMA, "tie_word_embeddings": True, "head_dim": 12}),
    "classification": Case("BertForSequenceClassification", "BertConfig", {**ENCODER, "num_labels": 3}),
    "tokens": Case("BertForTokenClassification", "BertConfig", {**ENCODER, "num_labels": 5}),
    "questions": Case("BertForQuestionAnswering", "BertConfig", ENCODER),
    "xlm-roberta-classification": Case(
        "XLMRobertaForSequenceClassification",
        "XLMRobertaConfig",
        {**ONE_SEGMENT, "num_labels": 3},
        unread=FRONT_ROWS,
        family="xlm-roberta",
    ),
    "albert-classification": Case(
        "AlbertForSequenceClassification", "AlbertConfig", {**ENCODER, "embedding_size": 16, "num_labels": 3}
    ),
}


@pytest.fixture(autouse=True)
def quiet():
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


def random_model(case: Case) -> nn.Module:
    """Scales, shifts and biases are random too, so that a lost one shows."""
    torch.manual_seed(3)
    config = getattr(transformers, case.config)(**case.values)
    model = getattr(transformers, case.architecture)(config).eval()
    if case.own_output:
        model.lm_head.weight = nn.Parameter(torch.empty_like(model.lm_head.weight))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:  # Pegasus's sinusoids stay
                is_norm = parameter.ndim == 1 and "norm" in name.lower() and name.endswith("weight")
                parameter.normal_(1.0 if is_norm else 0.0, 0.1)
        if not config.tie_word_embeddings and "cls.predictions.bias" in model.state_dict():
            model.get_parameter("cls.predictions.bias").copy_(model.get_parameter("cls.predictions.decoder.bias"))
        for name, buffer in model.named_buffers():
            if name == "final_logits_bias":
                buffer.normal_()
    return model


def inputs(case: Case) -> tuple[dict[str, Tensor], Batch]:
    """The same random rows for both sides; the last row is padded."""
    generator = torch.Generator().manual_seed(5)
    padding = case.values.get("pad_token_id", 0)
    ids = torch.randint(padding + 1, VOCABULARY, (3, 10), generator=generator)
    segments = torch.ones_like(ids)
    two_segments = case.config in ("BertConfig", "AlbertConfig")
    segments[:, 5:] = 2 if two_segments else 1
    ids[2, 7:], segments[2, 7:] = padding, 0
    theirs = {"input_ids": ids, "attention_mask": (segments > 0).long()}
    if two_segments:
        theirs["token_type_ids"] = (segments - 1).clamp(min=0)
    decoder = None
    if case.config in ("T5Config", "MT5Config", "BartConfig", "PegasusConfig"):
        theirs["decoder_input_ids"] = ids.flip(0)
        decoder = Batch(ids.flip(0), torch.ones_like(ids))
    return theirs, Batch(ids, segments, decoder=decoder)


def fine_tuned_logits(model: Model, weights: dict[str, Tensor], batch: Batch) -> list[Tensor]:
    """What the heads compute that UER-py adds when fine-tuning."""
    hidden = model.encode(batch)
    if "output_layer.weight" in weights:
        return [hidden @ weights["output_layer.weight"].t() + weights["output_layer.bias"]]
    pooled = torch.tanh(hidden[:, 0] @ weights["output_layer_1.weight"].t() + weights["output_layer_1.bias"])
    return [pooled @ weights["output_layer_2.weight"].t() + weights["output_layer_2.bias"]]


def our_logits(path: Path, batch: Batch) -> list[Tensor]:
    """Load the UER file strictly, run it."""
    config = model_config_from_dict(read_json_object(path.with_name(f"{path.stem}_config.json")))
    model = build_model(config).eval()
    load_weights(model, path, strict=bool(config.target))
    if config.target:
        return list(model.logits(batch).values())
    return fine_tuned_logits(model, torch.load(path, weights_only=True), batch)


def their_logits(model: nn.Module, arguments: dict[str, Tensor]) -> list[Tensor]:
    output = model(**arguments)
    if "start_logits" in output:
        return [torch.stack([output.start_logits, output.end_logits], dim=-1)]
    names = ("prediction_logits", "seq_relationship_logits", "sop_logits")
    return [output[name] for name in names if name in output] or [output.logits]


@pytest.mark.parametrize("name", CASES)
def test_logits_and_the_way_back(name, tmp_path):
    case = CASES[name]
    model = random_model(case)
    model.save_pretrained(tmp_path / "before")
    convert(tmp_path / "before", tmp_path / "model.bin", to="uer", verify=False)
    theirs, batch = inputs(case)
    with torch.no_grad():
        expected, found = their_logits(model, theirs), our_logits(tmp_path / "model.bin", batch)
    assert len(expected) == len(found)
    real = (batch.decoder or batch).segments > 0
    for left, right in zip(expected, found, strict=True):
        difference = (left - right)[real] if left.ndim == 3 else left - right
        assert difference.abs().max() < 1e-5

    convert(tmp_path / "model.bin", tmp_path / "after", family=case.family, verify=False)
    assert json.loads((tmp_path / "after" / "config.json").read_text())["architectures"] == [case.architecture]
    returned = getattr(transformers, case.architecture).from_pretrained(tmp_path / "after").state_dict()
    assert returned.keys() == model.state_dict().keys()
    for key, before in model.state_dict().items():
        first = next((rows for ending, rows in case.unread.items() if key.endswith(ending)), 0)
        if key in case.folded:
            assert within_one_place(returned[key], before), key
        elif "pooler" not in key or "PreTraining" in case.architecture or "Sequence" in case.architecture:
            assert torch.equal(returned[key][first:], before[first:]), key
