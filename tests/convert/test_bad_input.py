"""What is wrong with an input is said in one sentence, with exit status 2, and nothing is written."""

from __future__ import annotations

import json
import os
import pickle
import resource
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from uer_ds.cli.main import main


class Malicious:
    """Unpickled carelessly, it leaves a file behind."""

    def __init__(self, trace: Path):
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


@pytest.fixture
def model(tmp_path, small_bert) -> Path:
    return small_bert(tmp_path / "model")


def refusal(capsys, *arguments: object) -> str:
    """Run a conversion that must fail; returns the sentence."""
    assert main(["convert", *map(str, arguments)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert "Traceback" not in printed.err
    return printed.err


def check(capsys, source: Path, output: Path, *expected: str) -> None:
    before = sorted(source.parent.rglob("*"))
    message = refusal(capsys, source, output)
    for text in expected:
        assert text in message
    assert sorted(source.parent.rglob("*")) == before


def test_missing_input(tmp_path, capsys):
    check(capsys, tmp_path / "absent", tmp_path / "out", "absent", "no such file")


def test_text_file(tmp_path, capsys):
    path = tmp_path / "notes.bin"
    path.write_text("these are no weights\n")
    check(capsys, path, tmp_path / "out", "notes.bin", "these are no weights")


def test_git_lfs_pointer(tmp_path, capsys):
    path = tmp_path / "model.bin"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    check(capsys, path, tmp_path / "out", "Git LFS pointer")


def test_empty_file(tmp_path, capsys):
    path = tmp_path / "model.bin"
    path.touch()
    check(capsys, path, tmp_path / "out", "model.bin", "empty")


@pytest.mark.parametrize("name", ["model.safetensors", "model.bin"])
def test_truncated_file(model, tmp_path, capsys, name):
    path = tmp_path / name
    if name.endswith(".bin"):
        torch.save(load_file(model / "model.safetensors"), path)
    else:
        shutil.copy(model / "model.safetensors", path)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    check(capsys, path, tmp_path / "out", name, "truncated")


@pytest.mark.parametrize("content", [b"\xff" * 64, b"\x10" + b"\0" * 7 + b"{this is not json"])
def test_wrong_safetensors_header(tmp_path, capsys, content):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    check(capsys, path, tmp_path / "out", "model.safetensors", "header")


def test_folder_without_weights(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    check(capsys, tmp_path / "empty", tmp_path / "out", "empty", "no weights")


def test_unknown_family(tmp_path, capsys):
    save_file({"visual.conv.weight": torch.zeros(2, 2)}, tmp_path / "model.safetensors")
    check(
        capsys, tmp_path / "model.safetensors", tmp_path / "out", "visual.conv.weight is unknown", "the nearest is bert"
    )


def test_unknown_model_type(model, tmp_path, capsys):
    (model / "config.json").write_text(json.dumps({"model_type": "brat"}))
    weights = load_file(model / "model.safetensors")
    theirs = {name.replace("embedding.", "other."): tensor for name, tensor in weights.items()}
    save_file(theirs, model / "model.safetensors")
    check(capsys, model, tmp_path / "out", "'brat'", "'bert'")


def test_structure_that_hugging_face_lacks(model, tmp_path, capsys):
    values = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**values, "has_residual_attention": True}))
    check(capsys, model, tmp_path / "out", "nearest family is bert", "has_residual_attention True instead of False")


def test_sizes_that_contradict_the_configuration(model, tmp_path, capsys):
    values = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**values, "layers_num": 12}))
    check(capsys, model, tmp_path / "out", "config.json", "layers_num is 12", "have 2")


def test_unknown_tensor(model, tmp_path, capsys):
    weights = load_file(model / "model.safetensors")
    save_file({**weights, "encoder.extra.weight": torch.zeros(1)}, model / "model.safetensors")
    check(capsys, model, tmp_path / "out", "encoder.extra.weight", "--ignore")
    assert main(["convert", str(model), str(tmp_path / "out"), "--ignore", r"extra"]) == 0


def test_missing_tensor(model, tmp_path, capsys):
    weights = load_file(model / "model.safetensors")
    del weights["encoder.transformer.1.self_attn.linear_layers.1.bias"]
    save_file(weights, model / "model.safetensors")
    check(capsys, model, tmp_path / "out", "encoder.transformer.1.self_attn.linear_layers.1.bias", "missing")


def sharded(model: Path, folder: Path) -> Path:
    """The model as two shards with an index."""
    weights = load_file(model / "model.safetensors")
    names = sorted(weights)
    folder.mkdir()
    shutil.copy(model / "config.json", folder)
    shards = {"model-1.safetensors": names[::2], "model-2.safetensors": names[1::2]}
    for file_name, chosen in shards.items():
        save_file({name: weights[name] for name in chosen}, folder / file_name)
    index = {"weight_map": {name: file_name for file_name, chosen in shards.items() for name in chosen}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def test_missing_shard(model, tmp_path, capsys):
    folder = sharded(model, tmp_path / "shards")
    assert main(["convert", str(folder), str(tmp_path / "whole")]) == 0
    capsys.readouterr()
    (folder / "model-2.safetensors").unlink()
    check(capsys, folder, tmp_path / "out", "model-2.safetensors", "missing")


@pytest.mark.parametrize("name", ["../model/model.safetensors", "/etc/passwd", "..\\model.safetensors"])
def test_shard_outside_the_folder(model, tmp_path, capsys, name):
    folder = sharded(model, tmp_path / "shards")
    index = {"weight_map": {"embedding.word.embedding.weight": name}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    check(capsys, folder, tmp_path / "out", "only plain names")


@pytest.mark.parametrize("legacy", [False, True])
def test_malicious_pickle_is_not_run(tmp_path, capsys, legacy):
    trace = tmp_path / "trace"
    content = {"embedding.word.embedding.weight": Malicious(trace)}
    torch.save(content, tmp_path / "model.bin", _use_new_zipfile_serialization=not legacy)
    check(capsys, tmp_path / "model.bin", tmp_path / "out", "mkdir", "refused")
    assert not trace.exists()


def test_malicious_plain_pickle_is_not_run(tmp_path, capsys):
    trace = tmp_path / "trace"
    (tmp_path / "model.bin").write_bytes(pickle.dumps(Malicious(trace), protocol=2))
    check(capsys, tmp_path / "model.bin", tmp_path / "out", "model.bin")
    assert not trace.exists()


def test_existing_output_is_kept_without_force(model, tmp_path, capsys):
    output = tmp_path / "out"
    output.mkdir()
    (output / "precious.txt").write_text("kept")
    check(capsys, model, output, "exists already", "--force")
    assert (output / "precious.txt").read_text() == "kept"
    assert main(["convert", str(model), str(output), "--force"]) == 0
    assert (output / "config.json").is_file()


@pytest.mark.parametrize("name", ["x_config.json", "x_labels.json", "x_vocab.txt"])
def test_files_beside_the_output_are_kept_without_force(model, tmp_path, capsys, name):
    """They would be read as if they belonged to the new weights."""
    (tmp_path / name).write_text('{"old": 0}')
    assert f"{name}: exists already" in refusal(capsys, model, tmp_path / "x.bin", "--to", "uer")
    assert (tmp_path / name).read_text() == '{"old": 0}'
    assert not (tmp_path / "x.bin").exists()
    assert main(["convert", str(model), str(tmp_path / "x.bin"), "--to", "uer", "--force"]) == 0
    assert {path.name for path in tmp_path.glob("x*")} == {"x.bin", "x_config.json"}  # no stale labels
    assert json.loads((tmp_path / "x_config.json").read_text())["hidden_size"] == 64


def test_a_file_does_not_replace_a_folder(model, tmp_path, capsys):
    (tmp_path / "x.bin").mkdir()
    (tmp_path / "x_config.json").write_text("old")
    assert "x.bin: is a folder" in refusal(capsys, model, tmp_path / "x.bin", "--to", "uer", "--force")
    assert (tmp_path / "x_config.json").read_text() == "old"


def test_unknown_number_of_heads(model, tmp_path, capsys):
    (model / "config.json").unlink()
    check(capsys, model / "model.safetensors", tmp_path / "out", "--heads_num", "64 / 64 = 1")
    assert main(["convert", str(model / "model.safetensors"), str(tmp_path / "out"), "--heads_num", "4"]) == 0


def test_a_wrong_expression(model, tmp_path, capsys):
    assert "no regular expression" in refusal(capsys, model, tmp_path / "out", "--ignore", "(")


def test_a_wrong_number_of_layers_or_heads(model, tmp_path, capsys):
    assert "--layers_num is 12, but the model has 2" in refusal(capsys, model, tmp_path / "out", "--layers_num", 12)
    assert "--heads_num is 3, but the model has 4" in refusal(capsys, model, tmp_path / "out", "--heads_num", 3)
    (model / "config.json").unlink()
    assert "do not divide" in refusal(capsys, model, tmp_path / "out", "--heads_num", 7)


def test_the_number_of_heads_is_asked_for_at_a_terminal(model, tmp_path, capsys, monkeypatch):
    (model / "config.json").unlink()
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    questions = []
    monkeypatch.setattr("builtins.input", lambda text: questions.append(text) or "")
    assert main(["convert", str(model), str(tmp_path / "out.bin"), "--to", "uer"]) == 0
    assert "[1]" in questions[0]  # hidden size / 64
    assert json.loads((tmp_path / "out_config.json").read_text())["heads_num"] == 1


def test_a_full_disk_leaves_nothing_behind(model, tmp_path, capsys):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        check(capsys, model, tmp_path / "new" / "folder" / "out", "cannot be written", "File too large")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_options_of_uer_py(model, tmp_path, capsys):
    arguments = ["--input_model_path", str(model), "--output_model_path", str(tmp_path / "out.bin"), "--to", "uer"]
    arguments += ["--layers_num", "2", "--type", "mlm"]
    assert main(["convert", *arguments]) == 0
    assert (tmp_path / "out_config.json").is_file()
    capsys.readouterr()
    assert "INPUT is given twice" in refusal(capsys, model, *arguments)
