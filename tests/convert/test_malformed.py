"""Malformed files, configurations and answers: each is refused with one sentence that names what is wrong."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from uer_ds.cli.main import main
from uer_ds.convert import convert
from uer_ds.errors import UserError
from uer_ds.storage.lazy import in_memory
from uer_ds.storage.writers import write_safetensors_file

GOLDENS = Path(__file__).resolve().parents[1] / "golden" / "models"
WORD = "embedding.word.embedding.weight"
RNN = "encoder.rnn.weight_hh_l0"


def refused(source: Path, output: Path, pattern: str, **options: Any) -> None:
    with pytest.raises(UserError, match=pattern):
        convert(source, output, **options)
    assert not output.exists()


@pytest.mark.parametrize(
    ("weights", "pattern"),
    [
        ({}, "holds no tensors"),
        ({WORD: torch.zeros(5, 4)}, "no tensor of an encoder"),
        ({"bert.embeddings.word_embeddings.weight": torch.zeros(5, 4)}, "no known family.*missing"),
        ({WORD: torch.zeros(5)}, r"has the shape \[5\]; expected 2 axes"),
        ({WORD: torch.zeros(5, 4), "encoder.rnn.bias_hh_l0": torch.zeros(5)}, "weight_hh_l0 is missing"),
        ({WORD: torch.zeros(5, 4), RNN: torch.zeros(8, 4)}, "has 8 rows of 4 units"),
        ({WORD: torch.zeros(5, 4), "encoder.conv_1.bias": torch.zeros(5)}, "conv_1.weight is missing"),
        ({WORD: torch.zeros(5, 4), "encoder.transformer.9999999.a": torch.zeros(5)}, "only 2 tensors"),
    ],
    ids=["nothing", "words", "their words", "one axis", "rnn", "two gates", "cnn", "layers"],
)
@pytest.mark.parametrize("to", ["uer", "huggingface"])
def test_tensors_of_no_model(tmp_path, weights, pattern, to):
    save_file(weights, tmp_path / "model.safetensors")
    refused(tmp_path / "model.safetensors", tmp_path / "out", pattern, to=to, heads_num=2)


def test_a_gated_cnn_needs_its_json(tmp_path):
    path = GOLDENS / "gatedcnn_lm"
    torch.save(load_file(path / "model.safetensors"), tmp_path / "model.bin")
    refused(tmp_path / "model.bin", tmp_path / "out.bin", "block_size is missing.*--config_path", to="uer")
    convert(tmp_path / "model.bin", tmp_path / "out.bin", to="uer", config_path=path / "config.json")


@pytest.mark.parametrize(
    ("key", "value", "pattern"),
    [
        ("num_attention_heads", "four", "num_attention_heads is 'four'; expected a positive integer"),
        ("num_attention_heads", 0, "num_attention_heads is 0; expected"),
        ("num_attention_heads", None, "--heads_num"),
        ("intermediate_size", 1.5, "intermediate_size is 1.5"),
        ("hidden_act", 3, "hidden_act is 3; expected a name"),
        ("layer_norm_eps", "small", "layer_norm_eps is 'small'; expected a number"),
        ("id2label", {"first": "x"}, "id2label is"),
        ("id2label", ["x", "y"], "id2label is"),
        ("label2id", {"x": "one"}, "label2id is"),
    ],
)
def test_values_of_a_configuration_of_theirs(small_bert, tmp_path, key, value, pattern):
    convert(small_bert(tmp_path / "model"), tmp_path / "hf", verify=False)
    config = json.loads((tmp_path / "hf" / "config.json").read_text())
    (tmp_path / "hf" / "config.json").write_text(json.dumps({**config, key: value}))
    for to in ("uer", "huggingface"):
        refused(tmp_path / "hf", tmp_path / "out", pattern, to=to)


def test_odd_values_of_our_configuration(small_bert, tmp_path):
    model = small_bert(tmp_path / "model")
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "target": 1.5}))
    refused(model, tmp_path / "out", "target")
    (model / "config.json").write_text(json.dumps({**config, "hidden_size": None}))
    assert convert(model, tmp_path / "out").config.hidden_size == 64


def test_a_size_that_is_null_is_found_in_the_tensors(small_bert, tmp_path):
    convert(small_bert(tmp_path / "model"), tmp_path / "hf", verify=False)
    config = json.loads((tmp_path / "hf" / "config.json").read_text())
    (tmp_path / "hf" / "config.json").write_text(json.dumps({**config, "hidden_size": None}))
    assert convert(tmp_path / "hf", tmp_path / "out.bin", to="uer", verify=False).config.hidden_size == 64


@pytest.mark.parametrize("option", ["heads_num", "layers_num"])
def test_numbers_that_are_none(small_bert, tmp_path, option):
    refused(small_bert(tmp_path / "model"), tmp_path / "out", f"--{option} is 0", **{option: 0})


@pytest.mark.parametrize(
    ("answer", "pattern"), [("0", "'0' is not a number"), ("²", "'²' is not"), (None, "no answer")]
)
def test_answers_to_the_question_for_heads(small_bert, tmp_path, capsys, monkeypatch, answer, pattern):
    def reply(question: str) -> str:
        if answer is None:
            raise EOFError
        return answer

    model = small_bert(tmp_path / "model")
    (model / "config.json").unlink()
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", reply)
    assert main(["convert", str(model), str(tmp_path / "out")]) == 2
    assert pattern in capsys.readouterr().err


@pytest.mark.parametrize(("dtype", "to"), [(torch.float8_e4m3fn, "uer"), (torch.complex64, "huggingface")])
def test_types_that_a_format_cannot_hold(small_bert, tmp_path, dtype, to):
    model = small_bert(tmp_path / "model")
    weights = {name: tensor.to(dtype) for name, tensor in load_file(model / "model.safetensors").items()}
    if dtype.is_complex:
        (model / "model.safetensors").unlink()
        torch.save(weights, model / "model.bin")
    else:
        write_safetensors_file(model / "model.safetensors", in_memory(weights))
    refused(model, tmp_path / "out", f"has the type {str(dtype)[6:]}", to=to, verify=False)


@pytest.mark.parametrize(
    ("content", "pattern"),
    [
        (Path("/bin/sh"), r"it begins with the bytes 7f 45 4c 46"),
        (pickle.dumps({"a": 1}, protocol=2), "is a pickle, but none of torch.save"),
        (pickle.dumps({"a": 1}, protocol=4), "newer protocol"),
    ],
    ids=["program", "pickle", "new pickle"],
)
def test_other_files(tmp_path, content, pattern):
    (tmp_path / "x.bin").write_bytes(content.read_bytes() if isinstance(content, Path) else content)
    refused(tmp_path / "x.bin", tmp_path / "out", pattern)


@pytest.mark.parametrize(("protocol", "as_zip"), [(3, True), (3, False), (4, True), (5, True), (5, False)])
def test_protocols_of_pickles(small_bert, tmp_path, recwarn, protocol, as_zip):
    weights = load_file(small_bert(tmp_path / "model") / "model.safetensors")
    path = tmp_path / "x.bin"
    torch.save(weights, path, pickle_protocol=protocol, _use_new_zipfile_serialization=as_zip)
    if protocol > 3:
        refused(path, tmp_path / "out.bin", "newer protocol.*without pickle_protocol", to="uer", heads_num=4)
    else:
        convert(path, tmp_path / "out.bin", to="uer", heads_num=4)
    assert not [warning for warning in recwarn if "pickle protocol" in str(warning.message)]


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_truncated_archives(small_bert, tmp_path, share):
    torch.save(load_file(small_bert(tmp_path / "model") / "model.safetensors"), tmp_path / "x.bin")
    content = (tmp_path / "x.bin").read_bytes()
    (tmp_path / "x.bin").write_bytes(content[: int(len(content) * share)])
    refused(tmp_path / "x.bin", tmp_path / "out", "is truncated .the end of its zip archive is missing")


@pytest.mark.parametrize("name", ["model.safetensors", "model.safetensors.index.json"])
def test_one_file_of_a_folder_has_the_folders_configuration(small_bert, tmp_path, name):
    small = {"shard_bytes": 60_000} if name.endswith(".json") else {}
    convert(small_bert(tmp_path / "model", hidden_act="relu"), tmp_path / "hf", verify=False, **small)
    config = convert(tmp_path / "hf" / name, tmp_path / "out.bin", to="uer").config
    assert (config.heads_num, config.hidden_act) == (4, "relu")


def test_llama_without_a_configuration(tmp_path):
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 48, "vocab_size": 40}
    config = transformers.LlamaConfig(**sizes, num_attention_heads=4, num_key_value_heads=2)
    model = transformers.LlamaForCausalLM(config)
    model.save_pretrained(tmp_path / "hf")
    (tmp_path / "hf" / "model.safetensors").rename(tmp_path / "x.safetensors")
    refused(tmp_path / "x.safetensors", tmp_path / "out", "number of attention heads is in no file.*32 / 64")
    report = convert(tmp_path / "x.safetensors", tmp_path / "out", heads_num=4)
    assert (report.config.heads_num, report.config.local_kv_heads_num) == (4, 2)
    assert any("no config.json" in note for note in report.export.notes)
    again = load_file(tmp_path / "out" / "model.safetensors")
    assert all(torch.equal(again[name], tensor) for name, tensor in model.state_dict().items())


def test_a_stray_index_makes_no_tensorflow_checkpoint(small_bert, tmp_path):
    model = small_bert(tmp_path / "model")
    (model / "notes.index").touch()
    convert(model, tmp_path / "out.bin", to="uer")
