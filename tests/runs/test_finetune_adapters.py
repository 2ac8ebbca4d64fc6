"""Adapters by the commands, under every ZeRO stage: the same losses, whole weights, prediction = evaluation.

One launch of two ranks runs all commands of this file.
"""

from __future__ import annotations

import json
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
STAGES = ("zero0", "zero1", "zero2", "zero3", "zero2_bf16", "zero3_bf16")
PROJECTION = "encoder.transformer.0.self_attn.linear_layers.0"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, run: Run) -> Path:
    """Data, a model to begin with, and the outputs of all commands."""
    folder = tmp_path_factory.mktemp("adapters")
    write_rows(folder / "train.tsv", 192, seed=1)
    write_rows(folder / "dev.tsv", 61, seed=2)
    write_rows(folder / "texts.tsv", 61, seed=2, labels=False)
    (folder / "vocab.txt").write_text("\n".join(CHARACTERS) + "\n", encoding="utf-8")
    model = {**TINY_MODEL, "dropout": 0.0}
    (folder / "model.json").write_text(json.dumps(model))
    torch.manual_seed(4)
    body = build_model(model_config_from_dict({**model, "vocab_size": len(CHARACTERS)}))
    save_weights(body.state_dict(), folder / "base.bin")
    plan = [lora(folder, stage, "8", stage) for stage in STAGES]
    plan.append(lora(folder, "accumulated", "4", "zero1", "--accumulation_steps", "2", "--report_steps", "12"))
    plan += [predict(folder, "classifier", name, f"{name}.tsv") for name in ("zero0", "zero3", "zero2_bf16")]
    (folder / "plan.json").write_text(json.dumps(plan))
    script = ("tests/runs/many_commands.py", folder / "plan.json")
    run("deepspeed", "--num_accelerators", "2", "--master_port", "29637", *script, timeout=300)
    return folder


def lora(folder: Path, name: str, batch_size: str, stage: str, *more: str) -> list[str]:
    paths = {"pretrained_model_path": "base.bin", "config_path": "model.json", "vocab_path": "vocab.txt"}
    paths.update(train_path="train.tsv", dev_path="dev.tsv", test_path="dev.tsv", output_model_path=name)
    files = [word for option, file in paths.items() for word in (f"--{option}", str(folder / file))]
    usual = ["--use_lora", "--learning_rate", "5e-3", "--correct_bias", "--pooling", "mean", "--seq_length", "64"]
    layout = ["--epochs_num", "3", "--ds_config", stage, "--batch_size", batch_size, "--report_steps", "6"]
    return ["finetune", "classifier", *files, *usual, *layout, *more]


def predict(folder: Path, task: str, model: str, output: str, *more: str) -> list[str]:
    files = ("--test_path", str(folder / "texts.tsv"), "--prediction_path", str(folder / output))
    return ["predict", task, "--load_model_path", str(folder / model), *files, *more]


@pytest.mark.parametrize("name", [*STAGES[1:4], "accumulated"])
def test_every_stage_trains_the_same_adapters(folder: Path, name: str) -> None:
    expected, found = ([report["loss"] for report in metrics(folder / run)] for run in ("zero0", name))
    assert len(expected) == 6 and expected[-1] < 0.9 * expected[0]
    assert found == pytest.approx(expected, abs=2e-5)


@pytest.mark.parametrize("name", ["zero2_bf16", "zero3_bf16"])
def test_low_precision_trains_nearly_the_same(folder: Path, name: str) -> None:
    expected, found = ([report["loss"] for report in metrics(folder / run)] for run in ("zero0", name))
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
