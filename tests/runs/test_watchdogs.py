"""An update whose loss is not finite on one rank moves nothing, at any stage; it is said and can be looked at.

One launch of two ranks runs all trainings of this file (`many_runs.py`).
"""

from __future__ import annotations

import json
import math
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from tests.runs.conftest import Run, metrics, pretrain_options
from tests.runs.reference import read_config, reference_losses
from uer_ds.cli.main import main

EXACT = ("zero0", "zero1", "zero2", "zero3", "zero2_offload", "zero3_offload")
HALF = ("zero0_bf16", "zero1_bf16", "zero2_bf16", "zero3_bf16")
ACCUMULATED = ("zero0", "zero1", "zero2", "zero3")
UPDATES, BAD = 8, [3, 4]


def plans(material: Path, folder: Path) -> dict[str, dict[str, Any]]:
    """Name of each training -> its entry for `many_runs.py`."""

    def entry(name: str, **options: Any) -> dict[str, Any]:
        usual = {"total_steps": UPDATES, "save_checkpoint_steps": 1000, "warmup": 0.0}
        return {
            "options": pretrain_options(material, folder / name.partition("#")[0], **{**usual, **options}),
            "poison": {"updates": BAD, "rank": 1},
        }

    runs = {name: entry(name, ds_config=name) for name in (*EXACT, *HALF)}
    for name in ACCUMULATED:
        options = {"batch_size": 8, "accumulation_steps": 2, "total_steps": 2 * UPDATES}
        runs[f"{name}-twice"] = entry(f"{name}-twice", ds_config=name, **options)
    runs["infinite"] = entry("infinite", ds_config="zero1")
    runs["infinite"]["poison"]["value"] = math.inf
    blend = {"dataset_path": f"{material / 'dataset'}", "report_steps": 4, "ds_config": "zero2"}
    runs["resumed"] = {**entry("resumed", **blend), "stop_after": 3}
    runs["resumed#2"] = entry("resumed", **blend)
    for stage in range(4):
        runs[f"zero{stage}_fp16"] = entry(f"zero{stage}_fp16", ds_config=f"zero{stage}_fp16")
    overflowing = {
        "fp16": {"enabled": True, "initial_scale_power": 40, "hysteresis": 1},
        "zero_optimization": {"stage": 2},
    }
    runs["overflow"] = entry("overflow", ds_config=write(folder / "overflow.json", overflowing), total_steps=40)
    runs["overflow"]["poison"]["updates"] = []
    lowest = {"fp16": {"enabled": True, "initial_scale_power": 1, "hysteresis": 1}, "zero_optimization": {"stage": 1}}
    runs["lowest"] = entry(
        "lowest", ds_config=write(folder / "lowest.json", lowest), log_path=folder / "lowest.txt", max_skipped_updates=4
    )
    runs["lowest"]["poison"]["updates"] = list(range(2, 100))
    runs["hopeless"] = entry("hopeless", ds_config="zero2", max_skipped_updates=3, save_checkpoint_steps=2)
    runs["hopeless"]["poison"]["updates"] = list(range(4, 100))
    for workers in (0, 2):
        name = f"stalled-{workers}"
        runs[name] = entry(name, ds_config="zero1", loader_workers=workers, stall_seconds=0.4)
        runs[name] |= {"slow": 1.0}
    return runs


def write(path: Path, values: dict[str, Any]) -> Path:
    path.write_text(json.dumps(values))
    return path


@pytest.fixture(scope="module")
def trained(material: Path, tmp_path_factory: pytest.TempPathFactory, run_together: Run) -> Path:
    """The folder with the outputs of all trainings of two ranks."""
    folder = tmp_path_factory.mktemp("watchdogs")
    plan = folder / "runs.json"
    plan.write_text(json.dumps(list(plans(material, folder).values())))
    (folder / "said.txt").write_text(run_together(2, "tests/runs/many_runs.py", plan, timeout=300).stderr)
    return folder


@pytest.fixture(scope="module")
def expected(material: Path, tmp_path_factory: pytest.TempPathFactory) -> list[float | None]:
    """Losses of a plain loop that leaves the bad updates out; None for those."""
    options = pretrain_options(material, tmp_path_factory.mktemp("reference"), total_steps=UPDATES, warmup=0.0)
    losses = reference_losses(read_config(options), sequences=32, skipped=BAD)
    return [None if update in BAD else loss for update, loss in enumerate(losses, 1)]


def check_losses(output: Path, expected: list[float | None], tolerance: float) -> None:
    reports = metrics(output)
    assert [report["skipped_updates"] for report in reports] == [int(loss is None) for loss in expected]
    assert [report["loss"] is None for report in reports] == [loss is None for loss in expected]
    found, wanted = ([loss for loss in losses if loss is not None] for losses in (map_loss(reports), expected))
    assert found == pytest.approx(wanted, rel=tolerance)


def map_loss(reports: list[dict[str, Any]]) -> list[float | None]:
    return [report["loss"] for report in reports]


@pytest.mark.parametrize("name", [*EXACT, *(f"{name}-twice" for name in ACCUMULATED), "infinite"])
def test_a_bad_update_moves_nothing(name: str, trained: Path, expected: list[float | None]) -> None:
    """Afterwards the losses are those of a plain loop without the bad updates: weights and moments were left alone."""
    check_losses(trained / name, expected, 1e-5)


@pytest.mark.parametrize("name", [*HALF, *(f"zero{stage}_fp16" for stage in range(4))])
def test_a_bad_update_moves_nothing_in_half_precision(name: str, trained: Path, expected: list[float | None]) -> None:
    check_losses(trained / name, expected, 2e-2)


def test_the_culprit_s_samples_can_be_looked_at(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = metrics(trained / "zero2", "non_finite.jsonl")
    assert [(line["update"], line["what"]) for line in lines] == [(update, "loss") for update in BAD]
    for line in lines:
        (samples,) = line["samples"]
        assert (samples["rank"], samples["micro_batch"], len(samples["numbers"])) == (1, 0, 16)
    words = shlex.split(samples["look"])
    assert main(words[1:]) == 0
    shown = capsys.readouterr().out
    assert [f"sample {number}\n" in shown for number in samples["numbers"]] == [True] * 16
    assert main([*words[1:], "99999999"]) == 2
    assert "--samples 99999999" in capsys.readouterr().err


def test_a_resumed_run_counts_what_was_skipped_before(trained: Path) -> None:
    """Stopped after update 3, which was skipped, and resumed: one window holds both."""
    assert [report["skipped_updates"] for report in metrics(trained / "resumed")] == [2, 0]
    assert [line["update"] for line in metrics(trained / "resumed", "non_finite.jsonl")] == BAD


def test_a_run_without_hope_ends_and_names_the_last_checkpoint(trained: Path) -> None:
    said = [(trained / "hopeless" / f"error-{rank}.txt").read_text() for rank in range(2)]
    assert said[0] == said[1]
    assert "the loss was not finite 3 times in a row (--max_skipped_updates)" in said[0]
    assert f"{trained / 'hopeless' / 'checkpoint-4'} is whole and good" in said[0]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_that_stalls_says_so_and_goes_on(workers: int, trained: Path, expected: list[float | None]) -> None:
    """With background threads and without; each rank for itself."""
    check_losses(trained / f"stalled-{workers}", expected, 1e-5)
    said = (trained / "said.txt").read_text()
    for rank in range(2):
        assert len(re.findall(rf"rank {rank} \(.*\): no batch for [01] seconds; the disk of .*dataset", said)) >= 2


def test_overflows_of_float16_are_counted_and_do_not_end_a_run(trained: Path) -> None:
    """A loss scale of 2^40 halves until gradients fit; that is float16's ordinary life and names no samples."""
    reports = metrics(trained / "overflow")
    skipped = sum(report["skipped_updates"] for report in reports)
    assert skipped > 8
    assert reports[-1]["skipped_updates"] == 0
    assert reports[-1]["loss_scale"] == 2.0 ** (40 - skipped)
    assert reports[-1]["loss"] < reports[skipped]["loss"]
    assert not (trained / "overflow" / "non_finite.jsonl").exists()


def test_the_lowest_loss_scale_is_said(trained: Path) -> None:
    assert "the loss scale is at its minimum 1" in (trained / "lowest.txt").read_text()
    assert "the loss scale is at its minimum 1" in (trained / "lowest" / "error-1.txt").read_text()
