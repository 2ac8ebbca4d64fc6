"""Stacking: trees learn from models' probabilities, the same at every run; UER-py's names; mistakes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from uer_ds.cli.main import main

pytest.importorskip("lightgbm")

CLASSES = 3


def write_part(folder: Path, part: str, rows: int, seed: int) -> None:
    """Rows and two models' probabilities: what one says of class 2 is always wrong, the other knows nothing else."""
    draw = np.random.default_rng(seed)
    gold = draw.integers(0, CLASSES, rows)
    text = "".join(f"{label}\t{number}\n" for number, label in enumerate(gold))
    (folder / f"{part}.tsv").write_text("label\ttext_a\n" + text, encoding="utf-8")
    first = np.eye(CLASSES)[np.where(gold == 2, 0, gold)] + draw.random((rows, CLASSES)) * 0.2
    second = np.stack([gold == 2, gold != 2, gold != 2], axis=1) + draw.random((rows, CLASSES)) * 0.2
    for number, array in enumerate((first, second)):
        np.save(folder / f"m_{part}_features_{number}.npy", array / array.sum(1, keepdims=True))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stack")
    write_part(folder, "train", 400, 1)
    write_part(folder, "test", 150, 2)
    return folder


def features(folder: Path, part: str) -> list[str]:
    return [f"--{part}_features_path", *(str(folder / f"m_{part}_features_{number}.npy") for number in (0, 1))]


def test_two_models_together_know_all_classes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answers = folder / "answers.jsonl"
    command = ["stack", "--train_path", str(folder / "train.tsv"), *features(folder, "train")]
    command += ["--test_path", str(folder / "test.tsv"), *features(folder, "test"), "--prediction_path", str(answers)]
    assert main(command) == 0
    first, written = capsys.readouterr().out, answers.read_text(encoding="utf-8")
    accuracy = float(first.split("Acc. (Correct/Total): ")[1].split()[0])
    alone = np.load(folder / "m_test_features_0.npy").argmax(1)
    gold = [int(line.split("\t")[0]) for line in (folder / "test.tsv").read_text().splitlines()[1:]]
    assert accuracy > 0.97 > 0.8 > float((alone == gold).mean())
    found = [json.loads(line) for line in written.splitlines()]
    assert float(np.mean([int(row["label"]) == label for row, label in zip(found, gold, strict=True)])) == accuracy
    assert [sum(row["prob"]) for row in found] == pytest.approx([1.0] * 150, abs=1e-5)
    assert main(command) == 0
    assert capsys.readouterr().out == first and answers.read_text(encoding="utf-8") == written


def test_a_search_with_uers_names(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prefix, kept = str(folder / "m_"), folder / "params.json"
    command = ["stack", "--train_path", str(folder / "train.tsv"), "--train_features_path", prefix, "--models_num", "2"]
    command += ["--folds_num", "2", "--labels_num", str(CLASSES), "--params_path", str(kept)]
    assert main([*command, "--epochs_num", "3"]) == 0
    out = capsys.readouterr().out
    best = json.loads(kept.read_text())
    assert "trial 1 of 3: macro F1 " in out and json.dumps(best) in out
    score = out.strip().splitlines()[-1]
    assert score.startswith("2 folds: macro F1 ")
    assert main(command) == 0  # with what has been found
    assert capsys.readouterr().out.strip() == score


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--train_features_path", "m_test_features_0.npy"], "has 150 rows, but train.tsv has 400"),
        (["--train_features_path", "train.tsv"], "train.tsv: cannot be read as a numpy file"),
        (["--train_features_path", "m_train_features_0.npy", "--folds_num", "300"], "a class has only"),
        (["--train_features_path", "m_train_features_0.npy", "--labels_num", "2"], "train.tsv has 3 classes"),
        (["--train_features_path", "m_train_features_0.npy", "--params_path", "bad.json"], "leaves is 3"),
        (["--train_features_path", "m_train_features_0.npy", "--test_path", "test.tsv"], "belong together"),
        (["--train_features_path", "a.npy", "b.npy", "--models_num", "2"], "names 2 files"),
    ],
)
def test_mistakes_are_named(
    options: list[str],
    said: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder)
    (folder / "bad.json").write_text('{"leaves": 3}')
    assert main(["stack", "--train_path", "train.tsv", *options]) == 2
    assert said in capsys.readouterr().err
