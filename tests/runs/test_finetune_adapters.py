"""Adapters, r-drop and several datasets by the commands, on two ranks: losses, weights, prediction = evaluation.

One launch of two ranks runs all commands of this file.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from tests.runs.conftest import TINY_MODEL, Run, metrics
from tests.runs.test_finetune import evaluations, write_rows
from uer_ds.config.model import model_config_from_dict
from uer_ds.finetune.lora import DOWN, UP
from uer_ds.models.model import build_model
from uer_ds.models.weight_files import read_weights, save_weights

CHARACTERS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"天地玄黄宇宙洪荒日月好坏"]
DATASETS = ("reviews", "others")
STAGES = ("zero0", "zero1", "zero2", "zero3", "zero2_bf16", "zero3_bf16")
PROJECTION = "encoder.transformer.0.self_attn.linear_layers.0"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, run_together: Run) -> Path:
    """Data, a model to begin with, and the outputs of all commands."""
    folder = tmp_path_factory.mktemp("adapters")
    write_rows(folder / "train.tsv", 192, seed=1)
    write_rows(folder / "dev.tsv", 61, seed=2)
    write_rows(folder / "texts.tsv", 61, seed=2, labels=False)
    for number, name in enumerate(DATASETS, 5):
        (folder / name).mkdir()
        write_rows(folder / name / "train.tsv", 96, seed=number)
        shutil.copy(folder / "dev.tsv", folder / name)
    flip_labels(folder / DATASETS[1])
    (folder / "vocab.txt").write_text("\n".join(CHARACTERS) + "\n", encoding="utf-8")
    model = {**TINY_MODEL, "dropout": 0.0}
    (folder / "model.json").write_text(json.dumps(model))
    (folder / "dropout.json").write_text(json.dumps({**model, "dropout": 0.2}))
    torch.manual_seed(4)
    body = build_model(model_config_from_dict({**model, "vocab_size": len(CHARACTERS)}))
    save_weights(body.state_dict(), folder / "base.bin")
    adapted = ("--use_lora", "--test_path", str(folder / "dev.tsv"))
    plan = [train(folder, "classifier", stage, stage, *adapted) for stage in STAGES]
    small = ("--batch_size", "4", "--accumulation_steps", "2", "--report_steps", "12")
    plan.append(train(folder, "classifier", "accumulated", "zero1", *adapted, *small))
    for name, stage, alpha in (("apart", "zero1", "0"), ("alike", "zero1", "500"), ("alike_zero3", "zero3", "500")):
        drop = ("--config_path", str(folder / "dropout.json"), "--r_drop_alpha", alpha, "--epochs_num", "1")
        plan.append(train(folder, "classifier", name, stage, *drop))
    several = ("--dataset_path_list", *(str(folder / name) for name in DATASETS))
    plan.append(train(folder, "classifier_mt", "several", "zero3", *several))
    plan += [predict(folder, "classifier", name) for name in ("zero0", "zero3", "zero2_bf16")]
    plan.append(predict(folder, "classifier_mt", "several"))
    bare = ("--load_model_path", str(folder / "several" / "model.safetensors"), "--labels_num_list", "2", "2")
    bare += ("--config_path", str(folder / "model.json"), "--vocab_path", str(folder / "vocab.txt"))
    bare += ("--pooling", "mean", "--prediction_path", str(folder / "bare.tsv"))
    plan.append([*predict(folder, "classifier_mt", "several"), *bare])
    (folder / "plan.json").write_text(json.dumps(plan))
    run_together(2, "tests/runs/many_commands.py", folder / "plan.json", timeout=300)
    return folder


def flip_labels(dataset: Path) -> None:
    """0 and 1 change places, as in a dataset that says it the other way round."""
    for path in dataset.glob("*.tsv"):
        lines = path.read_text("utf-8").splitlines()
        path.write_text("\n".join([lines[0], *(f"{1 - int(line[0])}{line[1:]}" for line in lines[1:])]) + "\n", "utf-8")


def train(folder: Path, task: str, name: str, stage: str, *more: str) -> list[str]:
    paths = {"pretrained_model_path": "base.bin", "config_path": "model.json", "vocab_path": "vocab.txt"}
    if task == "classifier":
        paths.update(train_path="train.tsv", dev_path="dev.tsv")
    paths["output_model_path"] = name
    files = [word for option, file in paths.items() for word in (f"--{option}", str(folder / file))]
    usual = ["--learning_rate", "5e-3", "--correct_bias", "--pooling", "mean", "--seq_length", "64"]
    layout = ["--epochs_num", "2", "--ds_config", stage, "--batch_size", "8", "--report_steps", "6"]
    return ["finetune", task, *files, *usual, *layout, *more]


def predict(folder: Path, task: str, model: str) -> list[str]:
    files = ("--test_path", str(folder / "texts.tsv"), "--prediction_path", str(folder / f"{model}.tsv"))
    return ["predict", task, "--load_model_path", str(folder / model), *files]


def losses(output: Path) -> list[float]:
    return [report["loss"] for report in metrics(output)]


@pytest.mark.parametrize("name", [*STAGES[1:4], "accumulated"])
def test_every_stage_trains_the_same_adapters(folder: Path, name: str) -> None:
    expected, found = (losses(folder / run) for run in ("zero0", name))
    assert len(expected) == 4 and expected[-1] < 0.9 * expected[0]
    assert found == pytest.approx(expected, abs=2e-5)


@pytest.mark.parametrize("name", ["zero2_bf16", "zero3_bf16"])
def test_low_precision_trains_nearly_the_same(folder: Path, name: str) -> None:
    expected, found = (losses(folder / run) for run in ("zero0", name))
    assert found == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize("name", STAGES)
def test_whole_weights_are_those_of_the_base_with_the_adapters(folder: Path, name: str) -> None:
    files = (folder / "base.bin", folder / name / "model.safetensors", folder / name / "adapters.safetensors")
    base, whole, adapters = ({key: read() for key, read in read_weights(path).items()} for path in files)
    assert len(adapters) == 8 and not any("lora" in key or "base_layer" in key for key in whole)
    change = adapters[PROJECTION + UP] @ adapters[PROJECTION + DOWN]
    assert change.abs().max() > 1e-3
    before, after = (weights[f"{PROJECTION}.weight"] for weights in (base, whole))
    loose = {"rtol": 0, "atol": 1e-3 if "bf16" in name else 1e-6}
    torch.testing.assert_close(after, before + change, **loose)
    torch.testing.assert_close(whole[f"{PROJECTION}.bias"], base[f"{PROJECTION}.bias"], **loose)


@pytest.mark.parametrize("name", ["zero0", "zero3", "zero2_bf16"])
def test_prediction_is_the_evaluation(folder: Path, name: str) -> None:
    right = write_rows(folder / "again.tsv", 61, seed=2)
    answers = (folder / f"{name}.tsv").read_text().split("\n")[1:-1]
    accuracy = sum(a == b for a, b in zip(answers, right, strict=True)) / len(right)
    assert accuracy == max(report["accuracy"] for report in evaluations(folder / name))
    scores = json.loads((folder / name / "scores.json").read_text())
    assert scores["test"] == scores["dev"]  # merged weights, put back beside silent adapters


def test_r_drop_adds_what_two_passes_are_apart(folder: Path) -> None:
    apart, alike = losses(folder / "apart"), losses(folder / "alike")
    assert len(apart) == 2 and alike[0] > apart[0] + 1e-3
    assert losses(folder / "alike_zero3") == pytest.approx(alike, abs=2e-5)


def test_one_encoder_learns_datasets_that_contradict_each_other(folder: Path) -> None:
    said = json.loads((folder / "several" / "task.json").read_text())
    assert said["label_parts"] == dict.fromkeys(DATASETS, 2)
    scores = max(evaluations(folder / "several"), key=lambda report: report["accuracy"])
    assert scores["accuracy"] == pytest.approx(sum(scores[f"accuracy_{name}"] for name in DATASETS) / 2)
    assert scores["accuracy"] > 0.9
    right = write_rows(folder / "again.tsv", 61, seed=2)
    assert (folder / "bare.tsv").read_text() == (folder / "several.tsv").read_text()
    answers = [line.split("|") for line in (folder / "several.tsv").read_text().split("\n")[1:-1]]
    found = sum(a == b for (a, _), b in zip(answers, right, strict=True)) / len(right)
    turned = sum(int(a) == 1 - int(b) for (_, a), b in zip(answers, right, strict=True)) / len(right)
    assert [found, turned] == pytest.approx([scores[f"accuracy_{name}"] for name in DATASETS])
