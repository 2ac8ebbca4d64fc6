"""Grids and folds by the commands: killed and gone on with by two workers; the best model kept, folds averaged.

Launches: a grid that is killed, the same one again with two workers, and two ranks for all other commands.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.runs.conftest import BIN, ROOT, TINY_MODEL, Run
from tests.runs.test_finetune import write_rows

POINTS = {(16, rate, epochs) for rate in (1e-4, 2e-3) for epochs in (1, 4)}
GRID = ("--batch_size_list", "16", "--learning_rate_list", "1e-4", "2e-3", "--epochs_num_list", "1", "4")
ROWS = 330


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("grid")
    write_rows(folder / "train.tsv", ROWS, seed=1)
    write_rows(folder / "dev.tsv", 101, seed=2)
    write_rows(folder / "texts.tsv", 101, seed=2, labels=False)
    characters = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"天地玄黄宇宙洪荒日月好坏"]
    (folder / "vocab.txt").write_text("\n".join(characters) + "\n", encoding="utf-8")
    (folder / "model.json").write_text(json.dumps({**TINY_MODEL, "dropout": 0.0}))
    return folder


def training(data: Path, output: str, *files: str) -> list[str]:
    paths = [word for name in files for word in (f"--{name}_path", str(data / f"{name.split('_')[0]}.tsv"))]
    model = ("--vocab_path", str(data / "vocab.txt"), "--config_path", str(data / "model.json"), "--pooling", "mean")
    usual = ("--correct_bias", "--seq_length", "64", "--loader_workers", "0", "--output_model_path", str(data / output))
    return ["classifier", *paths, *model, *usual]


def table(data: Path) -> Any:
    path = data / "best" / "grid.json"
    return json.loads(path.read_text()) if path.exists() else {"trials": []}


def states(data: Path) -> list[str]:
    return [trial["state"] for trial in table(data)["trials"]]


def kill_when_one_is_done(command: list[str], data: Path) -> None:
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": f"{BIN}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    with (data / "killed.log").open("w") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=log, stderr=log)
    deadline = time.monotonic() + 150
    while "done" not in states(data) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.returncode == -signal.SIGKILL, (data / "killed.log").read_text()[-3000:]


@pytest.fixture(scope="module")
def resumed(data: Path, run: Run) -> str:
    """A grid that was killed and went on; what the second command said."""
    words = training(data, "best", "train", "dev")
    command = [sys.executable, "-m", "uer_ds", "grid", *words, *GRID]
    kill_when_one_is_done([*command, "--trials_at_once", "1"], data)
    (data / "before.json").write_text(json.dumps(table(data)))
    return str(run(*command, "--trials_at_once", "2", "--test_path", data / "dev.tsv", timeout=300).stdout)


def test_every_point_is_trained_exactly_once(data: Path, resumed: str) -> None:
    before = json.loads((data / "before.json").read_text())["trials"]
    trials = table(data)["trials"]
    kept = {t["number"]: t for t in before if t["state"] == "done"}
    assert 1 <= len(kept) < len(POINTS)
    assert {(t["batch_size"], t["learning_rate"], t["epochs_num"]) for t in trials} == POINTS
    assert [t["state"] for t in trials] == ["done"] * len(POINTS)
    assert kept == {t["number"]: t for t in trials if t["number"] in kept}  # what was done is not done again
    values = [t["value"] for t in trials]
    assert values == sorted(values, reverse=True) and values[0] > 0.9 > values[-1]
    assert f"{len(kept)} of {len(POINTS)} trials are done already" in resumed
    assert (data / "best" / "grid.png").stat().st_size > 10_000


def test_two_workers_shared_the_rest(data: Path, resumed: str) -> None:
    logs = [(data / "best" / f"worker-{number}.log").read_text() for number in range(2)]
    trained = [{int(line.split(":")[0][6:]) for line in log.splitlines() if line.startswith("trial ")} for log in logs]
    assert not trained[0] & trained[1] and trained[0] | trained[1]
    assert "a worker ended with status" not in resumed and "best so far" in resumed


@pytest.fixture(scope="module")
def answered(data: Path, resumed: str, run_together: Run) -> str:
    """Predictions, folds, the same folds again, their means, and a grid, by two ranks; what they said."""
    predict = ("predict", "classifier", "--load_model_path", str(data / "best"), "--test_path", str(data / "texts.tsv"))
    epochs = ("--epochs_num", "2", "--learning_rate", "2e-3", "--batch_size", "8", "--folds_num", "3")
    folds = ["cv", *training(data, "folds.bin", "train"), *epochs, "--train_features_path", str(data / "train.npy")]
    means = ("cv-predict", "classifier", "--load_model_path", str(data / "folds.bin"), "--folds_num", "3")
    layout = ("--ds_config", "zero3", "--learning_rate_list", "1e-4", "2e-3", "--batch_size_list", "8")
    together = ["grid", *training(data, "together", "train", "dev"), *layout, "--epochs_num_list", "1"]
    plan = [
        [*predict, "--prediction_path", str(data / "answers.tsv")],
        folds,
        folds,
        [*means, "--test_path", str(data / "texts.tsv"), "--test_features_path", str(data / "test.npy")],
        together,
    ]
    (data / "plan.json").write_text(json.dumps(plan))
    return str(run_together(2, "tests/runs/many_commands.py", data / "plan.json", timeout=300).stdout)


def right_answers(data: Path, rows: int, seed: int) -> list[int]:
    return [int(answer) for answer in write_rows(data / "again.tsv", rows, seed)]


def test_the_best_model_has_the_accuracy_of_the_study(data: Path, resumed: str, answered: str) -> None:
    right = right_answers(data, 101, seed=2)
    answers = [int(line) for line in (data / "answers.tsv").read_text().splitlines()[1:]]
    accuracy = sum(a == b for a, b in zip(answers, right, strict=True)) / len(right)
    best = table(data)["best"]
    assert accuracy == pytest.approx(best["value"], abs=1e-12)
    assert json.loads((data / "best" / "task.json").read_text())["scores"]["accuracy"] == best["value"]
    scores = json.loads((data / "best" / "scores.json").read_text())
    assert scores["dev"] == scores["test"] == best["scores"]  # the test file was the dev file
    assert not list((data / "best").glob("trial-*"))
    assert "exported   no folder for transformers" in resumed  # which has no head that pools the mean


def test_folds_answer_what_they_have_not_seen(data: Path, answered: str) -> None:
    features, right = np.load(data / "train.npy"), right_answers(data, ROWS, seed=1)
    assert features.shape == (ROWS, 2) and np.allclose(features.sum(1), 1)
    accuracy = (features.argmax(1) == right).mean()
    assert accuracy > 0.9
    assert f"Acc.: {fold_mean(data):.4f}" in answered and "Macro F1: " in answered
    assert answered.count("done already") == 3  # the second command trained nothing


def fold_mean(data: Path) -> float:
    scores = [json.loads((data / f"folds-fold_{k}.bin" / "fold.json").read_text())["scores"] for k in range(3)]
    return float(np.mean([fold["accuracy"] for fold in scores]))


def test_folds_answers_are_averaged(data: Path, answered: str) -> None:
    features, right = np.load(data / "test.npy"), right_answers(data, 101, seed=2)
    assert features.shape == (101, 2) and (features.argmax(1) == right).mean() > 0.9
    assert np.allclose(features.sum(1), 1) and features.dtype == np.float32


def test_ranks_train_each_trial_together(data: Path, resumed: str, answered: str) -> None:
    trials = json.loads((data / "together" / "grid.json").read_text())["trials"]
    assert [(trial["learning_rate"], trial["state"]) for trial in trials] == [(2e-3, "done"), (1e-4, "done")]
    one = {t["learning_rate"]: t["value"] for t in table(data)["trials"] if t["epochs_num"] == 1}
    assert {t["learning_rate"]: t["value"] for t in trials} == one  # 2 x 8 examples an update are 1 x 16
    assert (data / "together" / "model.safetensors").exists()
