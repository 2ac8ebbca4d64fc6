"""Fine-tuning by the commands: two ranks = one rank under any stage; evaluation = prediction and scoring.

One launch of two ranks and one of a single rank run all commands of this file.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

import pytest

from tests.runs.conftest import TINY_MODEL, Run, metrics

TWO_RANKS = ("zero1", "zero3")


def write_rows(path: Path, rows: int, seed: int, labels: bool = True) -> list[str]:
    """Texts whose label tells which of two characters occurs often; returns the labels."""
    draw = random.Random(seed)
    lines, answers = ["label\ttext_a" if labels else "text_a"], []
    for _ in range(rows):
        label = draw.randrange(2)
        text = draw.choices("天地玄黄宇宙洪荒日月", k=draw.randrange(3, 30))
        text += ["好坏"[label]] * (1 + len(text) // 4)
        lines.append(f"{label}\t{''.join(text)}" if labels else "".join(text))
        answers.append(str(label))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return answers


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, run: Run, run_together: Run) -> Path:
    """Data, and the outputs of all commands."""
    folder = tmp_path_factory.mktemp("finetune")
    write_rows(folder / "train.tsv", 330, seed=1)
    write_rows(folder / "dev.tsv", 101, seed=2)
    write_rows(folder / "dev_texts.tsv", 101, seed=2, labels=False)
    characters = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"天地玄黄宇宙洪荒日月好坏"]
    (folder / "vocab.txt").write_text("\n".join(characters) + "\n", encoding="utf-8")
    (folder / "model.json").write_text(json.dumps({**TINY_MODEL, "dropout": 0.0}))

    def train(name: str, stage: str, batch_size: int, *more: str) -> list[str]:
        paths = {
            "train_path": "train.tsv",
            "dev_path": "dev.tsv",
            "vocab_path": "vocab.txt",
            "config_path": "model.json",
        }
        files = [word for option, file in paths.items() for word in (f"--{option}", str(folder / file))]
        usual = ["--learning_rate", "2e-3", "--correct_bias", "--pooling", "mean"]
        usual += ["--epochs_num", "4", "--report_steps", "5"]
        layout = ["--ds_config", stage, "--batch_size", str(batch_size)]
        return ["finetune", "classifier", "--output_model_path", str(folder / name), *files, *usual, *layout, *more]

    def predict(name: str, output: str) -> list[str]:
        files = ("--test_path", str(folder / "dev_texts.tsv"), "--prediction_path", str(folder / output))
        return ["predict", "classifier", "--load_model_path", str(folder / name), *files, "--output_prob"]

    two = [train(stage, stage, 8) for stage in TWO_RANKS] + [predict("zero1", "two.tsv")]
    test = ("--test_path", str(folder / "dev.tsv"), "--early_stopping", "1")
    one = [
        train("one", "zero0", 16),
        train("accumulated", "zero0", 4, "--accumulation_steps", "4", "--report_steps", "20"),
        train("stopped", "zero0", 16, "--learning_rate", "1e-9", *test),
        predict("zero1", "one.tsv"),
        predict("zero1", "one.jsonl"),
    ]
    for name, plan in (("two", two), ("one", one)):
        (folder / f"{name}.json").write_text(json.dumps(plan))
    script = "tests/runs/many_commands.py"
    run_together(2, script, folder / "two.json", timeout=300)
    run(sys.executable, script, folder / "one.json", timeout=300)
    return folder


@pytest.mark.parametrize("name", [*TWO_RANKS, "accumulated"])
def test_any_layout_trains_the_same_model(folder: Path, name: str) -> None:
    expected, found = (metrics(folder / run) for run in ("one", name))
    assert len(expected) == 17 and expected[-1]["loss"] < 0.5 < expected[0]["loss"]
    assert [report["loss"] for report in found] == pytest.approx([report["loss"] for report in expected], abs=2e-5)
    assert found[-1]["learning_rate"] == expected[-1]["learning_rate"] < 1e-4


def evaluations(output: Path) -> list[dict[str, float]]:
    """Those on the dev file."""
    found = [json.loads(line) for line in (output / "evaluations.jsonl").read_text().splitlines()]
    return [report for report in found if report["part"] == "dev"]


def test_evaluation_equals_prediction_and_scoring(folder: Path) -> None:
    right = write_rows(folder / "again.tsv", 101, seed=2)
    lines = (folder / "one.tsv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "label\tprob"
    answers = [line.split("\t")[0] for line in lines[1:]]
    accuracy = sum(a == b for a, b in zip(answers, right, strict=True)) / len(right)
    said = evaluations(folder / "zero1")
    assert len(said) == 4 and accuracy == max(report["accuracy"] for report in said) > 0.9
    assert all(abs(sum(map(float, line.split("\t")[1].split())) - 1) < 1e-5 for line in lines[1:])


def test_ranks_share_a_prediction_and_formats_agree(folder: Path) -> None:
    one = (folder / "one.tsv").read_text(encoding="utf-8").splitlines()
    two = (folder / "two.tsv").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in (folder / "one.jsonl").read_text().splitlines()]
    assert [line.split("\t")[0] for line in one] == [line.split("\t")[0] for line in two]
    assert [line.split("\t")[0] for line in one[1:]] == [record["label"] for record in records]


def test_what_does_not_learn_is_stopped_and_tested(folder: Path) -> None:
    stopped = folder / "stopped"
    assert len(evaluations(stopped)) == 2  # the first evaluation is the best so far, the second is not better
    scores = json.loads((stopped / "scores.json").read_text())
    assert scores["test"] == scores["dev"]


def test_the_result_folder_says_what_it_is(folder: Path) -> None:
    said = json.loads((folder / "zero3" / "task.json").read_text())
    assert said["task"] == "classifier" and said["label2id"] == {"0": 0, "1": 1} and said["scores"]["accuracy"] > 0.9
    assert {path.name for path in (folder / "zero3").iterdir()} >= {"model.safetensors", "config.json", "tokenizer"}
