"""`uer-ds dataset`: lengths, verification, merging, splitting."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from uer_ds.cli.dataset import histogram_text
from uer_ds.cli.main import main
from uer_ds.data import combine
from uer_ds.data.dataset import Dataset, open_dataset
from uer_ds.data.measure import length_histogram
from uer_ds.tokenizers import write_vocabulary
from uer_ds.tokenizers.vocabulary import RESERVED

LINES = [f"第{i}行" + "字" * (i % 40) for i in range(300)]


def preprocess(folder: Path, text: str, name: str, *options: str) -> Path:
    (folder / f"{name}.txt").write_text(text)
    write_vocabulary([*RESERVED, *"第行字0123456789"], folder / "vocab.txt")
    corpus = ["--corpus_path", str(folder / f"{name}.txt"), "--dataset_path", str(folder / name)]
    tokenizer = ["--tokenizer", "char", "--vocab_path", str(folder / "vocab.txt")]
    assert main(["preprocess", *corpus, *tokenizer, *options]) == 0
    return folder / name


def labelled(folder: Path, name: str = "data") -> Path:
    text = "".join(f"{i}\t{line}\n" for i, line in enumerate(LINES))
    return preprocess(folder, text, name, "--data_processor", "cls", "--shards", "3")


def documents(dataset: Dataset) -> list[tuple[int, list[int]]]:
    return [(int(dataset.column("label", d)), dataset.document(d).tolist()) for d in range(dataset.documents)]


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    capsys.readouterr()
    assert main(["dataset", *map(str, arguments)]) == 2
    return capsys.readouterr().err


def test_histogram(tmp_path: Path) -> None:
    dataset = open_dataset(labelled(tmp_path))
    lengths = [len(dataset.document(d)) for d in range(dataset.documents)]
    classes = length_histogram(dataset)
    assert sum(count for _, count in classes) == 300
    for low, count in classes:
        assert count == sum(low <= length < 2 * low for length in lengths)
    assert histogram_text([(1, 1), (2, 40), (4, 80)]).splitlines()[1].count("#") == 20


def test_info(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = labelled(tmp_path)
    capsys.readouterr()
    assert main(["dataset", "info", str(folder)]) == 0
    shown = capsys.readouterr().out
    assert "label, int32 a document" in shown
    assert "300" in shown and "seq_length 128" in shown


def test_verify_finds_one_changed_byte(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = labelled(tmp_path)
    assert main(["dataset", "verify", str(folder)]) == 0
    data = folder / "shard-00001-of-00003.bin"
    damaged = bytearray(data.read_bytes())
    damaged[7] ^= 1
    data.write_bytes(damaged)
    assert "shard-00001-of-00003.bin has the SHA-256" in refused(capsys, "verify", folder)


@pytest.mark.parametrize("ending", ["bin", "idx", "label.npy"])
def test_missing_or_cut_files_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str], ending: str) -> None:
    folder = labelled(tmp_path)
    file = folder / f"shard-00002-of-00003.{ending}"
    file.write_bytes(file.read_bytes()[:-2])
    assert file.name in refused(capsys, "verify", folder)
    file.unlink()
    assert file.name in refused(capsys, "verify", folder)


def test_shards_of_another_dataset(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, other = labelled(tmp_path), preprocess(tmp_path, "第1行\n", "other", "--data_processor", "mlm")
    for ending in ("bin", "idx"):
        shutil.copy(other / f"shard-00000-of-00001.{ending}", folder / f"shard-00000-of-00003.{ending}")
    assert "the files belong to another dataset" in refused(capsys, "info", folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[:100], "is no JSON"),
        (lambda text: "[]", "holds a list"),
        (lambda text: text.replace('"format_version": 1', '"format_version": 9'), "is not of format"),
        (lambda text: text.replace('"layout"', '"lay_out"'), "is damaged"),
    ],
)
def test_damaged_manifest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Callable[[str], str], message: str
) -> None:
    manifest = labelled(tmp_path) / "manifest.json"
    manifest.write_text(change(manifest.read_text()))
    assert f"{manifest} {message}" in refused(capsys, "info", manifest.parent)


def test_what_is_no_dataset_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "manifest.json is missing" in refused(capsys, "info", tmp_path)
    (tmp_path / "dataset.pt").touch()
    assert "dataset.pt is a file" in refused(capsys, "info", tmp_path / "dataset.pt")
    said = refused(capsys, "info", tmp_path / "datasett")
    assert f"the dataset {tmp_path / 'datasett'} does not exist (did you mean {tmp_path / 'dataset.pt'}?)" in said


def test_changed_vocabulary(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = labelled(tmp_path)
    (folder / "tokenizer" / "vocab.txt").write_text("[UNK]\n")
    assert "restore them" in refused(capsys, "verify", folder)


def test_merge(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = labelled(tmp_path, "one"), labelled(tmp_path, "two")
    assert main(["dataset", "merge", str(one), str(two), "--output_path", str(tmp_path / "both")]) == 0
    both = open_dataset(tmp_path / "both")
    assert documents(both) == documents(open_dataset(one)) * 2
    assert len(both.shards) == 6
    assert main(["dataset", "verify", str(tmp_path / "both")]) == 0
    assert "holds a dataset already" in refused(capsys, "merge", one, two, "--output_path", tmp_path / "both")


def test_merge_refuses_what_differs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = labelled(tmp_path, "one"), preprocess(tmp_path, "第1行\n", "two", "--data_processor", "mlm")
    assert "differ in their layout (labelled, documents)" in refused(capsys, "merge", one, two, "--output_path", "x")
    three = preprocess(tmp_path, "1\t第1行\n", "three", "--data_processor", "cls", "--tokenizer", "space")
    assert "only datasets of one vocabulary" in refused(capsys, "merge", one, three, "--output_path", "x")


@pytest.mark.parametrize("chunk_tokens", [50, 1 << 24])
def test_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk_tokens: int) -> None:
    monkeypatch.setattr(combine, "CHUNK_TOKENS", chunk_tokens)
    folder = labelled(tmp_path)
    paths = ["--train_path", str(tmp_path / "train"), "--held_out_path", str(tmp_path / "held")]
    assert main(["dataset", "split", str(folder), "--held_out", "0.1", *paths]) == 0
    train, held = open_dataset(tmp_path / "train"), open_dataset(tmp_path / "held")
    assert (train.documents, held.documents) == (270, 30)
    assert sorted(documents(train) + documents(held)) == documents(open_dataset(folder))
    assert len(np.unique([label // 100 for label, _ in documents(held)])) == 3
    for part in ("train", "held"):
        assert main(["dataset", "verify", str(tmp_path / part)]) == 0


def test_split_of_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = labelled(tmp_path)
    paths = ("--train_path", tmp_path / "train", "--held_out_path", tmp_path / "held")
    assert "makes 0 of the 300 documents" in refused(capsys, "split", folder, "--held_out", "0.0001", *paths)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "data.txt", "vocab.txt"]


def test_split_into_one_folder_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = labelled(tmp_path)
    paths = ("--train_path", tmp_path / "part", "--held_out_path", tmp_path / "x" / ".." / "part")
    assert "part is to hold two datasets; give each a folder" in refused(capsys, "split", folder, *paths)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "data.txt", "vocab.txt"]


def test_both_sides_of_a_split_appear_or_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, replace = labelled(tmp_path), os.replace

    def fail(source: Path, target: Path) -> None:
        if Path(target).name == "held":
            raise OSError(errno.EIO, "Input/output error", str(target))
        replace(source, target)

    monkeypatch.setattr("uer_ds.data.build_folder.os.replace", fail)
    paths = ("--train_path", tmp_path / "train", "--held_out_path", tmp_path / "held")
    assert "Input/output error" in refused(capsys, "split", folder, *paths)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "data.txt", "vocab.txt"]


@pytest.mark.parametrize("value", ["-3", "0", "2.5"])
def test_what_cannot_be_held_out(tmp_path: Path, capsys: pytest.CaptureFixture[str], value: str) -> None:
    paths = ("--train_path", tmp_path / "train", "--held_out_path", tmp_path / "held")
    said = refused(capsys, "split", labelled(tmp_path), "--held_out", value, *paths)
    assert f"--held_out is {value}; expected a number of documents" in said


def test_samples_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = preprocess(tmp_path, "第1行字字字字字\n第2行\n", "text", "--data_processor", "mlm", "--seq_length", "16")
    capsys.readouterr()
    assert main(["dataset", "sample", str(folder), "--no_packing", "--epoch", "3", "--count", "5"]) == 0
    shown = capsys.readouterr().out
    assert "mlm: 2 samples in an epoch" in shown
    assert "padding: " in shown and "segment 1: [CLS]" in shown
    assert len(re.findall(r"\{[第行字012]\}", shown)) == 3  # 15 % of rows of 10 and of 5 tokens, with the answers


def test_static_masks_come_back_after_their_versions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--data_processor", "mlm", "--seq_length", "128", "--dup_factor", "2")
    folder = preprocess(tmp_path, "".join(f"第{i % 3}行字字字字字\n" for i in range(7)), "text", *options)
    capsys.readouterr()
    shown = []
    for epoch in (0, 1, 2):
        assert main(["dataset", "sample", str(folder), "--epoch", str(epoch)]) == 0
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[2] != shown[1]


def test_samples_with_a_decoder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = preprocess(tmp_path, "第1\t行2\n", "text", "--data_processor", "mt", "--seq_length", "8")
    capsys.readouterr()
    assert main(["dataset", "sample", str(folder)]) == 0
    shown = capsys.readouterr().out
    assert "  document 0, segment 1: [CLS] 第 1 [SEP]" in shown
    assert "  decoder document 0, segment 1: [CLS] 行 2" in shown
    assert "  lm predicts 3: 行 2 [SEP]" in shown
    assert "has the layout 'pairs'" in refused(capsys, "sample", folder, "--data_processor", "mlm")
