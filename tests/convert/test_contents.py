"""Every name and every shape is looked at before anything is written, whatever the output; heads are told apart."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from uer_ds.convert import convert
from uer_ds.errors import UserError

transformers = pytest.importorskip("transformers")

GOLDENS = Path(__file__).resolve().parents[1] / "golden" / "models"
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48, "vocab_size": 40}
QUERY = "encoder.transformer.1.self_attn.linear_layers.1.weight"
Weights = dict[str, torch.Tensor]


def changed(model: Path, change: Callable[[Weights], Any], **values: Any) -> Path:
    """The folder with other weights, and other values in its configuration."""
    weights = load_file(model / "model.safetensors")
    change(weights)
    save_file(weights, model / "model.safetensors")
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, **values}))
    return model


def refused(source: Path, output: Path, pattern: str, **options: Any) -> None:
    with pytest.raises(UserError, match=pattern):
        convert(source, output, verify=False, **options)
    assert not output.exists()


def tagger(model: Path, rows: int) -> Path:
    """The model with a layer for each token, as fine-tuning leaves it."""

    def change(weights: Weights) -> None:
        for name in [name for name in weights if name.startswith("target.")]:
            del weights[name]
        weights.update({"output_layer.weight": torch.randn(rows, 64), "output_layer.bias": torch.randn(rows)})

    return changed(model, change, target=[])


@pytest.mark.parametrize("to", ["uer", "safetensors"])
@pytest.mark.parametrize(
    ("change", "pattern"),
    [
        (lambda weights: weights.update({"encoder.extra": torch.zeros(1)}), "encoder.extra is no part.*--ignore"),
        (lambda weights: weights.pop("encoder.transformer.0.layer_norm_1.beta"), "layer_norm_1.beta is missing"),
        (
            lambda weights: [weights.pop(name) for name in list(weights) if name.startswith("encoder.transformer.1.")],
            r"encoder.transformer.1.* missing",
        ),
        (lambda weights: weights.update({QUERY: torch.zeros(64, 63)}), r"has the shape \[64, 63\].*needs \[64, 64\]"),
        (lambda weights: weights.update({"output_layer.weight": torch.zeros(3, 64)}), "output_layer.bias one is missi"),
        (
            lambda weights: weights.update(
                {"output_layer.weight": torch.zeros(3, 9), "output_layer.bias": torch.zeros(3)}
            ),
            r"output_layer.weight has the shape \[3, 9\]",
        ),
    ],
    ids=["unknown", "missing", "layer", "shape", "half a head", "head"],
)
def test_files_that_no_model_fits_are_refused(small_bert, tmp_path, change, pattern, to):
    model = changed(small_bert(tmp_path / "model", layers_num=3), change)
    refused(model, tmp_path / "out.bin", pattern, to=to)


def test_unknown_tensors_are_lost_where_that_is_allowed(small_bert, tmp_path):
    model = changed(small_bert(tmp_path / "model"), lambda weights: weights.update({"encoder.extra": torch.zeros(1)}))
    report = convert(model, tmp_path / "out.bin", to="uer", ignore="extra")
    assert report.export.dropped == ("encoder.extra",)
    assert "encoder.extra" not in torch.load(tmp_path / "out.bin")


def test_wrong_shapes_at_hugging_face_are_refused(tmp_path):
    transformers.BertForMaskedLM(transformers.BertConfig(**SIZES)).save_pretrained(tmp_path / "hf")
    name = "bert.encoder.layer.1.attention.self.key.weight"
    changed(tmp_path / "hf", lambda weights: weights.update({name: torch.zeros(32, 31)}))
    for to in ("uer", "huggingface"):
        refused(tmp_path / "hf", tmp_path / "out", r"\[32, 31\]", to=to)


@pytest.mark.parametrize(("key", "value"), [("num_key_value_heads", 4), ("num_key_value_heads", 1), ("head_dim", 4)])
def test_sizes_of_llama_that_contradict_the_tensors_are_refused(tmp_path, key, value):
    config = transformers.LlamaConfig(**SIZES, num_key_value_heads=2)
    transformers.LlamaForCausalLM(config).save_pretrained(tmp_path / "hf")
    changed(tmp_path / "hf", lambda weights: None, **{key: value})
    refused(tmp_path / "hf", tmp_path / "out", f"says {key} is {value}|do not divide", to="uer")


@pytest.mark.parametrize("sizes", [{"attention_head_size": 8}, {"local_kv_heads_num": 2}])
@pytest.mark.parametrize("family", [None, "bert"])
def test_attention_that_bert_lacks_is_refused(small_bert, tmp_path, sizes, family):
    (key,) = sizes
    refused(
        small_bert(tmp_path / "model", **sizes), tmp_path / "out", f"here {key} {sizes[key]} instead", family=family
    )


def test_usual_attention_may_be_stated(small_bert, tmp_path):
    convert(small_bert(tmp_path / "model", attention_head_size=16, local_kv_heads_num=4), tmp_path / "out")


def test_another_family_than_the_models_is_refused(small_bert, tmp_path):
    for to in ("huggingface", "uer"):
        refused(small_bert(tmp_path / to), tmp_path / "out", "is no gpt2 model.*mask", family="gpt2", to=to)


def test_a_head_is_chosen_for_uer_too(small_bert, tmp_path):
    model = small_bert(tmp_path / "model")
    report = convert(model, tmp_path / "body.bin", to="uer", head="none")
    assert "target.mlm.linear_1.weight" in report.export.dropped
    assert not [name for name in torch.load(tmp_path / "body.bin") if name.startswith("target.")]
    assert json.loads((tmp_path / "body_config.json").read_text())["target"] == []
    refused(model, tmp_path / "out.bin", "has no head mlm_sp: target.sp", to="uer", head="mlm_sp")


def test_a_body_with_the_configuration_of_pre_training(small_bert, tmp_path):
    """A fine-tuned file has other heads than the JSON it was made from."""
    model = tagger(small_bert(tmp_path / "model", data_processor="mlm"), 3)
    changed(model, lambda weights: None, target=["mlm"])
    report = convert(model, tmp_path / "out.bin", to="uer")
    assert report.config.target == ()
    assert convert(model, tmp_path / "hf").export.head == "token_classification"


def test_taggers_with_two_labels(small_bert, tmp_path):
    model = tagger(small_bert(tmp_path / "model"), 2)
    report = convert(model, tmp_path / "questions")
    assert report.export.head == "question_answering"
    assert any("--head token_classification" in note for note in report.export.notes)
    assert convert(model, tmp_path / "named", labels=["O", "X"]).export.head == "token_classification"
    chosen = convert(model, tmp_path / "chosen", head="token_classification").export
    assert (chosen.head, [note for note in chosen.notes if "--head" in note]) == ("token_classification", [])
    again = convert(tmp_path / "chosen", tmp_path / "again")  # without names, but of a class that tells
    assert again.export.head == "token_classification"


def test_names_of_labels_beside_a_file_decide(small_bert, tmp_path):
    convert(tagger(small_bert(tmp_path / "model"), 2), tmp_path / "x.bin", to="uer", labels=["O", "X"])
    assert (tmp_path / "x_labels.json").is_file()
    assert convert(tmp_path / "x.bin", tmp_path / "hf").export.head == "token_classification"


def test_multiple_choice_is_refused(small_bert, tmp_path):
    transformers.BertForMultipleChoice(transformers.BertConfig(**SIZES)).save_pretrained(tmp_path / "hf")
    refused(tmp_path / "hf", tmp_path / "out.bin", "BertForMultipleChoice scores several texts", to="uer")
    assert convert(tmp_path / "hf", tmp_path / "out", head="none").export.head == "none"
    refused(tagger(small_bert(tmp_path / "model"), 1), tmp_path / "ours", "output_layer.weight.* not part")


def test_causal_classifiers_are_refused_with_the_reason(small_model, tmp_path):
    values = json.loads((GOLDENS / "gpt2" / "config.json").read_text())
    model = small_model(
        tmp_path / "model", {**values, "target": ["cls"], "labels_num": 2, "pooling": "last", "data_processor": "cls"}
    )
    refused(model, tmp_path / "out", "one matrix on the last token.*--head none")
    assert convert(model, tmp_path / "body", head="none").export.head == "none"
    config = transformers.GPT2Config(n_embd=32, n_layer=1, n_head=4, vocab_size=40, num_labels=2, pad_token_id=0)
    transformers.GPT2ForSequenceClassification(config).save_pretrained(tmp_path / "hf")
    refused(tmp_path / "hf", tmp_path / "out.bin", "one matrix on the last token", to="uer")


@pytest.mark.parametrize(
    ("name", "activation"), [("albert", "relu"), ("gpt2", "gelu_fast"), ("t5", "relu"), ("t5_v1_1", "gelu_fast")]
)
def test_guesses_are_noted(tmp_path, name, activation):
    torch.save(load_file(GOLDENS / name / "model.safetensors"), tmp_path / "model.bin")
    sizes = {"heads_num": 4, "layers_num": 3} if name == "albert" else {"heads_num": 4}
    report = convert(tmp_path / "model.bin", tmp_path / "hf", verify=False, **sizes)
    assert report.config.hidden_act == activation
    notes = " ".join(report.export.notes)
    assert f"hidden_act {activation} was taken" in notes
    assert ("--layernorm uer" in notes) == (not name.startswith("t5"))


def test_what_a_configuration_leaves_out_is_not_guessed(small_model, tmp_path):
    """Checkpoints of ours do not write defaults down; gelu is one, and not what GPT-2 usually has."""
    values = json.loads((GOLDENS / "gpt2" / "config.json").read_text())
    del values["hidden_act"]
    report = convert(small_model(tmp_path / "model", values), tmp_path / "hf")
    assert report.config.hidden_act == "gelu"
    assert not any("was taken" in note for note in report.export.notes)
    assert json.loads((tmp_path / "hf" / "config.json").read_text())["activation_function"] == "gelu"
