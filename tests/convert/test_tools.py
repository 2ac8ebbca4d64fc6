"""`average`, `inspect` and `vocab adapt | diff`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from uer_ds.cli.main import main
from uer_ds.convert import convert
from uer_ds.convert.tokenizer_files import saved_tokenizer
from uer_ds.tokenizers import load_tokenizer

GOLDENS = Path(__file__).resolve().parents[1] / "golden" / "models"
WORD, OUTPUT, BIAS = "embedding.word.embedding.weight", "target.mlm.linear_2.weight", "target.mlm.linear_2.bias"


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def shifted(model: Path, folder: Path, amount: float) -> Path:
    """A copy of a model folder with every weight shifted."""
    folder.mkdir()
    weights = load_file(model / "model.safetensors")
    save_file({name: tensor + amount for name, tensor in weights.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text((model / "config.json").read_text())
    return folder


def write_vocabulary(path: Path, tokens: list[str]) -> Path:
    path.write_text("".join(f"{token}\n" for token in tokens), encoding="utf-8")
    return path


def test_average_is_the_mean_and_keeps_ties(small_bert, tmp_path):
    first = small_bert(tmp_path / "a")
    others = [shifted(first, tmp_path / name, amount) for name, amount in (("b", 0.5), ("c", 1.0))]
    assert run("average", first, *others, "--output_path", tmp_path / "mean.bin") == 0
    found, before = torch.load(tmp_path / "mean.bin"), load_file(first / "model.safetensors")
    for name, tensor in before.items():
        torch.testing.assert_close(found[name], tensor + 0.5, rtol=0, atol=1e-6)
    assert found[WORD].data_ptr() == found[OUTPUT].data_ptr()
    convert(tmp_path / "mean.bin", tmp_path / "hf")  # its JSON came along


def test_average_of_folders_keeps_what_is_beside_the_weights(small_bert, tmp_path):
    first = small_bert(tmp_path / "a")
    (first / "state.json").write_text("{}")
    second = shifted(first, tmp_path / "b", 1.0)
    assert run("average", "--model_list_path", first, second, "--output_model_path", tmp_path / "mean") == 0
    assert {file.name for file in (tmp_path / "mean").iterdir()} == {"config.json", "model.safetensors"}


def test_average_leaves_out_other_weights_and_the_state_of_runs(small_bert, tmp_path):
    first = small_bert(tmp_path / "a")
    for name in ("latest", "tf_model.h5", "trainer_state.json", "optimizer.pt"):
        (first / name).write_text("{}")
    (first / "vocab.txt").write_text("[PAD]\n")
    assert run("average", first, shifted(first, tmp_path / "b", 1.0), "--output_path", tmp_path / "mean") == 0
    assert {file.name for file in (tmp_path / "mean").iterdir()} == {"config.json", "model.safetensors", "vocab.txt"}


@pytest.mark.parametrize(
    ("change", "refused"), [({"heads_num": 2}, True), ({"hidden_act": "relu"}, True), ({"dropout": 0.3}, False)]
)
def test_models_that_compute_something_else_are_not_averaged(small_bert, tmp_path, capsys, change, refused):
    first, second = small_bert(tmp_path / "a"), small_bert(tmp_path / "b", **change)
    assert run("average", first, second, "--output_path", tmp_path / "mean") == (2 if refused else 0)
    if refused:
        (key,) = change
        assert f"{key} is {change[key]!r}, but" in capsys.readouterr().err


@pytest.mark.parametrize("change", ["name", "shape"])
def test_other_models_are_not_averaged(small_bert, tmp_path, capsys, change):
    first = small_bert(tmp_path / "a")
    second = small_bert(tmp_path / "b", **({"target": []} if change == "name" else {"vocab_size": 49}))
    assert run("average", first, second, "--output_path", tmp_path / "mean.bin") == 2
    assert ("target.mlm" if change == "name" else "shape [49, 64]") in capsys.readouterr().err
    assert not (tmp_path / "mean.bin").exists()


def test_one_checkpoint_has_no_average(small_bert, tmp_path, capsys):
    assert run("average", small_bert(tmp_path / "a"), "--output_path", tmp_path / "mean.bin") == 2
    assert "at least two" in capsys.readouterr().err


def inspected(capsys, *arguments: object) -> dict:
    assert run("inspect", *arguments, "--json") == 0
    return json.loads(capsys.readouterr().out)


def test_inspect_finds_the_same_weights_in_every_container(small_bert, tmp_path, capsys):
    model = small_bert(tmp_path / "model")
    convert(model, tmp_path / "model.bin", to="uer")
    convert(model, tmp_path / "hf", verify=False)
    folder, file, theirs = (inspected(capsys, path) for path in (model, tmp_path / "model.bin", tmp_path / "hf"))
    assert folder["checksum"] == file["checksum"] != theirs["checksum"]
    assert (folder["family"], theirs["family"]) == ("bert", "bert")
    assert file["sizes"]["attention heads"] == 4
    assert theirs["sizes"]["num_attention_heads"] == 4
    assert file["parameters"] == folder["parameters"] == 75826  # the tied output layer is counted once
    assert folder["names"][WORD] == [50, 64]


@pytest.mark.parametrize(
    ("name", "family"),
    [("sbert", "siamese bert"), ("siamese_lstm", "siamese lstm"), ("gru_lm", "gru"), ("albert", "albert")],
)
def test_inspect_names_families(capsys, name, family):
    assert inspected(capsys, GOLDENS / name)["family"] == family
    assert inspected(capsys, GOLDENS / name / "model.safetensors")["family"] == family


def test_inspect_prints_a_table(small_bert, tmp_path, capsys):
    model = small_bert(tmp_path / "model", has_residual_attention=True)
    assert run("inspect", model, "--keys", "--no_checksum") == 0
    printed = capsys.readouterr().out
    assert "none of bert, albert" in printed
    assert "hidden size" in printed
    assert f"{WORD} [50, 64]" in printed
    assert "not computed" in printed


def test_adapt_reuses_rows_by_token_and_keeps_ties(small_bert, tmp_path, capsys):
    old = ["[PAD]", "[UNK]", "甲", "乙", "丙"]
    new = ["[PAD]", "丙", "新", "[UNK]", "甲", "增"]
    model = small_bert(tmp_path / "model", vocab_size=5)
    before = load_file(model / "model.safetensors")
    arguments = ["--old_model_path", model, "--old_vocab_path", write_vocabulary(tmp_path / "old.txt", old)]
    arguments += ["--new_vocab_path", write_vocabulary(tmp_path / "new.txt", new)]
    assert run("vocab", "adapt", *arguments, "--new_model_path", tmp_path / "new.bin") == 0
    assert "4 rows taken over, 2 new" in capsys.readouterr().out
    after = torch.load(tmp_path / "new.bin")
    kept, sources = [0, 1, 3, 4], [0, 4, 1, 2]
    for name in (WORD, OUTPUT, BIAS):
        assert torch.equal(after[name][kept], before[name][sources])
        assert after[name].shape[0] == 6
    assert after[WORD].data_ptr() == after[OUTPUT].data_ptr()
    assert 0.01 < after[WORD][[2, 5]].std() < 0.03
    assert (after[BIAS][[2, 5]] == 0).all()
    assert json.loads((tmp_path / "new_config.json").read_text())["vocab_size"] == 6
    convert(tmp_path / "new.bin", tmp_path / "hf")  # whole and loadable


def saved_tokenizer_of(model: Path, vocabulary: Path) -> None:
    folder = model / "tokenizer"
    folder.mkdir()
    (folder / "description.json").write_text(json.dumps(load_tokenizer(vocab_path=vocabulary).save(folder)))


def test_adapt_writes_a_whole_folder(small_bert, tmp_path):
    """Its configuration and its tokenizer are those of the new vocabulary."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    old = write_vocabulary(tmp_path / "old.txt", [*special, "甲", "乙"])
    new = write_vocabulary(tmp_path / "new.txt", [*special, "丙", "甲", "丁"])
    model = small_bert(tmp_path / "model", vocab_size=7)
    saved_tokenizer_of(model, old)
    arguments = ["--old_model_path", model, "--old_vocab_path", old, "--new_vocab_path", new]
    assert run("vocab", "adapt", *arguments, "--new_model_path", tmp_path / "new") == 0
    assert json.loads((tmp_path / "new" / "config.json").read_text())["vocab_size"] == 8
    assert saved_tokenizer(tmp_path / "new").tokens == [*special, "丙", "甲", "丁"]
    report = convert(tmp_path / "new", tmp_path / "hf")
    assert report.config.vocab_size == 8
    assert (tmp_path / "hf" / "vocab.txt").read_text("utf-8").split() == [*special, "丙", "甲", "丁"]


def test_adapt_refuses_the_vocabulary_of_another_model(small_bert, tmp_path, capsys):
    vocabulary = write_vocabulary(tmp_path / "old.txt", ["a", "b"])
    arguments = ["--old_model_path", small_bert(tmp_path / "model"), "--old_vocab_path", vocabulary]
    arguments += ["--new_vocab_path", vocabulary, "--new_model_path", tmp_path / "new.bin"]
    assert run("vocab", "adapt", *arguments) == 2
    assert "has 2 tokens, but the word table" in capsys.readouterr().err


def test_diff_counts_both_sides(tmp_path, capsys):
    first = write_vocabulary(tmp_path / "1.txt", ["a", "b", "c"])
    second = write_vocabulary(tmp_path / "2.txt", ["a", "c", "d", "e"])
    assert run("vocab", "diff", "--vocab_1", first, "--vocab_2", second) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("3 tokens, 1 of them only here: b")
    assert lines[1].endswith("4 tokens, 2 of them only here: d e")
    assert lines[2] == "2 tokens in both, 1 of them with another id"
    assert run("vocab", "diff", first) == 2
