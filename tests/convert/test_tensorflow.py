"""Original TensorFlow checkpoints: names, transposed kernels, and the logits of the model they came from."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from uer_ds.convert import convert
from uer_ds.errors import UserError

transformers = pytest.importorskip("transformers")

SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "vocab_size": 40,
    "max_position_embeddings": 20,
    "type_vocab_size": 2,
    "hidden_act": "gelu",
}
# Google's names of what does not follow from Hugging Face's by rule (BERT, then ALBERT).
TO_GOOGLE = {
    "bert": (
        (r"^cls\.predictions\.(decoder\.)?bias$", "cls/predictions/output_bias"),
        (r"^cls\.seq_relationship\.weight$", "cls/seq_relationship/output_weights"),
        (r"^cls\.seq_relationship\.bias$", "cls/seq_relationship/output_bias"),
        (r"\.layer\.(\d+)\.", r"/layer_\1/"),
    ),
    "albert": (
        (r"^predictions\.(decoder\.)?bias$", "cls/predictions/output_bias"),
        (r"^predictions\.(dense|LayerNorm)", r"cls/predictions/transform/\1"),
        (r"^sop_classifier\.classifier\.weight$", "cls/seq_relationship/output_weights"),
        (r"^sop_classifier\.classifier\.bias$", "cls/seq_relationship/output_bias"),
        (r"^albert\.pooler", "albert.pooler.dense"),
        (r"albert_layer_groups\.0\.albert_layers\.0\.", "transformer/group_0/inner_group_0/"),
        (r"inner_group_0/attention\.LayerNorm", "inner_group_0/LayerNorm"),
        (r"inner_group_0/full_layer_layer_norm", "inner_group_0/LayerNorm_1"),
        (r"inner_group_0/attention\.(query|key|value)", r"inner_group_0/attention_1/self/\1"),
        (r"inner_group_0/attention\.dense", "inner_group_0/attention_1/output/dense"),
        (r"inner_group_0/ffn_output", "inner_group_0/ffn_1/intermediate/output/dense"),
        (r"inner_group_0/ffn\.", "inner_group_0/ffn_1/intermediate/dense/"),
        (r"^albert\.", "bert/"),
    ),
}


def google_variable(name: str, values: np.ndarray, family: str) -> tuple[str, np.ndarray]:
    """A tensor of a Hugging Face model as Google's code names and stores it."""
    for pattern, replacement in TO_GOOGLE[family]:
        name = re.sub(pattern, replacement, name)
    name = name.replace(".", "/")
    if "LayerNorm" in name:
        return name.replace("/weight", "/gamma").replace("/bias", "/beta"), values
    if name.endswith("_embeddings/weight"):
        return name.removesuffix("/weight"), values
    return (name.removesuffix("weight") + "kernel", values.T) if name.endswith("/weight") else (name, values)


class Reader:
    """The part of TensorFlow's checkpoint reader that is used."""

    def __init__(self, variables: dict[str, np.ndarray]):
        self.variables = variables

    def get_variable_to_shape_map(self) -> dict[str, list[int]]:
        return {name: list(values.shape) for name, values in self.variables.items()}

    def get_tensor(self, name: str) -> np.ndarray:
        return self.variables[name]


def stand_in(monkeypatch: pytest.MonkeyPatch, variables: dict[str, np.ndarray]) -> None:
    """A module `tensorflow` that reads `variables`."""
    module: Any = ModuleType("tensorflow")
    module.train = SimpleNamespace(load_checkpoint=lambda prefix: Reader(variables))
    module.errors = SimpleNamespace(OpError=OSError)
    monkeypatch.setitem(sys.modules, "tensorflow", module)


@pytest.mark.parametrize("family", ["bert", "albert"])
def test_a_google_checkpoint_becomes_the_same_model(family, tmp_path, monkeypatch):
    torch.manual_seed(2)
    if family == "bert":
        model = transformers.BertForPreTraining(transformers.BertConfig(**SIZES))
    else:
        sizes = {**SIZES, "embedding_size": 16}
        model = transformers.AlbertForPreTraining(transformers.AlbertConfig(**sizes))
    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items() if "decoder.weight" not in name}
    variables = dict(google_variable(name, values, family) for name, values in weights.items() if "_ids" not in name)
    for name in list(variables):
        variables[f"{name}/adam_m"] = variables[name]
    stand_in(monkeypatch, {**variables, "global_step": np.array(3)})
    (tmp_path / "bert_model.ckpt.index").touch()
    (tmp_path / "bert_config.json").write_text(
        json.dumps({**SIZES, "embedding_size": 16} if family == "albert" else SIZES)
    )

    report = convert(tmp_path / "bert_model.ckpt", tmp_path / "hf")
    assert (report.input_format, report.export.head) == ("TensorFlow checkpoint", "mlm_sp")
    after = type(model).from_pretrained(tmp_path / "hf").state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in model.state_dict().items())


def test_without_tensorflow_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    (tmp_path / "bert_model.ckpt.index").touch()
    with pytest.raises(UserError, match="pip install tensorflow-cpu"):
        convert(Path(tmp_path), tmp_path / "hf")
