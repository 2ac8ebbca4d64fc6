"""Two processes under every ZeRO stage follow a plain torch loop; stopping and resuming changes nothing, bit for bit.

One launch of two ranks runs all trainings of this file (`many_runs.py`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.runs.conftest import Run, metrics, pretrain_options
from tests.runs.reference import read_config, reference_losses

STAGES = ("zero0", "zero1", "zero2", "zero3", "zero2_offload", "zero3_offload")
HALF = ("zero0_bf16", "zero1_bf16", "zero2_bf16", "zero3_bf16", "zero2_offload_bf16", "zero3_offload_bf16")
UPDATES, SHORT = 20, 8
RESUMED: dict[str, dict[str, Any]] = {
    **{name: {"ds_config": name, "total_steps": UPDATES} for name in ("zero0", "zero1", "zero2", "zero3")},
    **{name: {"ds_config": name} for name in ("zero2_offload", "zero3_offload")},
    **{name: {"ds_config": name} for name in ("zero2_bf16", "zero3_bf16", "zero2_fp16")},
    **{name: {"ds_config": "zero0", "optimizer": name} for name in ("lamb", "muon", "adafactor")},
    "lion": {"ds_config": "zero3", "optimizer": "lion"},
    "async": {"ds_config": "zero2", "async_checkpoint": True, "save_checkpoint_steps": 3},
    "accumulation": {"ds_config": "zero3", "batch_size": 4, "accumulation_steps": 2, "total_steps": 2 * SHORT},
    "evaluated": {"ds_config": "zero1", "eval_steps": 3},
}
"""Name -> options of a run that is stopped in the middle and goes on."""


def plans(material: Path, folder: Path) -> dict[str, dict[str, Any]]:
    """Name of each training -> its entry for `many_runs.py`."""

    def entry(name: str, stop_after: int | None = None, **options: Any) -> dict[str, Any]:
        return {
            "options": pretrain_options(material, folder / name.partition("#")[0], **options),
            "stop_after": stop_after,
        }

    runs = {name: entry(name, ds_config=name) for name in (*STAGES, *HALF)}
    micro = {"batch_size": 8, "accumulation_steps": 2, "total_steps": 40}
    runs["accumulated"] = entry("accumulated", ds_config="zero2", **micro)
    runs["padded"] = entry("padded", ds_config="zero1", no_packing=True, **micro)
    runs["recomputed"] = entry("recomputed", ds_config="zero3", deepspeed_checkpoint_activations=True)
    for name, case in RESUMED.items():
        options = {"total_steps": SHORT, "dropout": 0.1, "report_steps": 3, **case}
        options["eval_dataset_path"] = material / "held_out" if "eval_steps" in case else None
        runs[f"{name}-whole"] = entry(f"{name}-whole", **options)
        runs[f"{name}-resumed"] = entry(f"{name}-resumed", stop_after=updates(case) // 2, **options)
        runs[f"{name}-resumed#2"] = entry(f"{name}-resumed#2", **options)
    return runs


def updates(case: dict[str, Any]) -> int:
    """Of a run that is resumed."""
    return int(case.get("total_steps", SHORT)) // int(case.get("accumulation_steps", 1))


@pytest.fixture(scope="module")
def trained(material: Path, tmp_path_factory: pytest.TempPathFactory, run_together: Run) -> Path:
    """The folder with the outputs of all trainings of two ranks."""
    folder = tmp_path_factory.mktemp("two-ranks")
    plan = folder / "runs.json"
    plan.write_text(json.dumps(list(plans(material, folder).values())))
    run_together(2, "tests/runs/many_runs.py", plan, timeout=500)
    return folder


def losses(output: Path) -> list[float]:
    return [report["loss"] for report in metrics(output)]


@pytest.fixture(scope="module")
def expected(material: Path, tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    """Losses of the plain loop over 32 packed sequences an update."""
    options = pretrain_options(material, tmp_path_factory.mktemp("reference"))
    return reference_losses(read_config(options), sequences=32)


@pytest.mark.parametrize("name", [*STAGES, "accumulated", "recomputed"])
def test_two_ranks_follow_the_plain_loop(name: str, trained: Path, expected: list[float]) -> None:
    assert losses(trained / name) == pytest.approx(expected, rel=1e-5)
    assert expected[-1] < expected[0] - 0.2


@pytest.mark.parametrize("name", [name for name in (*STAGES, *HALF) if name.startswith("zero3")])
def test_stage_3_really_divides(name: str, trained: Path) -> None:
    """Every tensor is cut over the ranks, and let go after its use."""
    tensors = json.loads((trained / name / "tensors.json").read_text())
    assert tensors["cut"] == tensors["let go"] == tensors["all"] > 20


def test_ranks_with_different_label_counts_follow_the_plain_loop(trained: Path, material: Path, tmp_path: Path) -> None:
    plain = reference_losses(read_config(pretrain_options(material, tmp_path, no_packing=True)), sequences=32)
    assert losses(trained / "padded") == pytest.approx(plain, rel=1e-5)


@pytest.mark.parametrize("name", HALF)
def test_bf16_stays_near_the_plain_loop(name: str, trained: Path, expected: list[float]) -> None:
    assert losses(trained / name) == pytest.approx(expected, rel=2e-2)


@pytest.mark.parametrize("name", HALF)
def test_saved_weights_are_not_rounded_to_bf16(name: str, trained: Path) -> None:
    weights = load_file(trained / name / f"checkpoint-{UPDATES}" / "model.safetensors")
    table = weights["embedding.word.embedding.weight"]
    assert table.dtype == torch.float32
    assert (table != table.bfloat16().float()).float().mean() > 0.5


@pytest.mark.parametrize("name", list(RESUMED))
def test_a_resumed_run_is_the_same_bit_for_bit(name: str, trained: Path) -> None:
    whole, resumed = (metrics(trained / f"{name}-{kind}") for kind in ("whole", "resumed"))
    exact = ("update", "loss", "accuracy", "tokens", "samples", "learning_rate", "grad_norm")
    assert [[report[k] for k in exact] for report in resumed] == [[report[k] for k in exact] for report in whole]
    last = updates(RESUMED[name])
    weights, again = (
        load_file(trained / f"{name}-{kind}/checkpoint-{last}/model.safetensors") for kind in ("whole", "resumed")
    )
    assert all(torch.equal(weights[key], again[key]) for key in weights)
    assert set(weights) == set(again)
    assert (trained / f"{name}-resumed/checkpoint-{last // 2}").is_dir()
    assert len(again) > 20 and whole[-1]["update"] == last


def test_one_rank_sees_the_same_samples(material: Path, tmp_path: Path, run: Run, expected: list[float]) -> None:
    output = tmp_path / "one"
    run("uer-ds", "pretrain", *pretrain_options(material, output, batch_size=32))
    assert losses(output) == pytest.approx(expected, rel=1e-5)
