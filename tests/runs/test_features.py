"""DeepSpeed's features through our own command, on two CPU processes; docs/deepspeed_features.md names these tests.

One launch runs all trainings of this file (`many_runs.py`); features of memory or insight must not change the losses.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from tests.runs.conftest import Run, metrics, partitioning, pretrain_options, two_by_deepspeed
from tests.runs.reference import read_config, reference_losses

UPDATES = 8
EXACT = ("flops", "comms", "clock", "csv", "again", "hpz", "cut-smaller", "compiled")
LION = ("lion0", "lion1", "lion2", "lion3", "lion2_offload")
WHOLE = ("lamb", "muon", "muon_bf16")


def shipped(name: str, **sections: Any) -> dict[str, Any]:
    """A shipped configuration with sections of a feature; under stage 3 it divides every tensor of a small model."""
    return {**partitioning(name), **sections}


def engines(folder: Path) -> dict[str, dict[str, Any]]:
    """Name of each training -> its DeepSpeed JSON."""
    monitor = {"enabled": True, "output_path": str(folder / "csv_monitor"), "job_name": "job"}
    zero3 = shipped("zero3")["zero_optimization"]
    return {
        "flops": shipped(
            "zero1",
            flops_profiler={"enabled": True, "profile_step": 2, "output_file": str(folder / "flops.txt")},
        ),
        "comms": shipped("zero2", comms_logger={"enabled": True, "verbose": False, "prof_all": True}),
        "clock": shipped("zero2", wall_clock_breakdown=True, memory_breakdown=False),
        "csv": shipped("zero2", csv_monitor=monitor),
        "again": shipped("zero2"),
        "hpz": {"zero_optimization": {**zero3, "zero_hpz_partition_size": 2}},
        "cut-smaller": {"zero_optimization": {**zero3, "sub_group_size": 1000}},
        "compiled": shipped("zero2"),
        "autocast": shipped("zero2", torch_autocast={"enabled": True, "dtype": "bfloat16"}),
        **{name: shipped(f"zero{name.removeprefix('lion')}") for name in LION},
        "lamb": shipped("zero0"),
        "muon": shipped("zero0"),
        "muon_bf16": shipped("zero0_bf16"),
    }


@pytest.fixture(scope="module")
def trained(material: Path, tmp_path_factory: pytest.TempPathFactory, run_together: Run) -> Path:
    """The folder with the outputs of all trainings of two ranks."""
    folder = tmp_path_factory.mktemp("features")
    entries = []
    for name, engine in engines(folder).items():
        path = folder / f"{name}.json"
        path.write_text(json.dumps(engine))
        options: dict[str, Any] = {"ds_config": path, "total_steps": UPDATES, "warmup": 0.0, "eval_steps": 4}
        options["eval_dataset_path"] = material / "held_out" if name in ("csv", "again") else None
        family = name.split("_")[0].rstrip("0123")
        options |= {"optimizer": family, "beta2": 0.99} if family in ("lion", "lamb", "muon") else {}
        options |= {"learning_rate": 6e-2} if family == "lamb" else {}  # a share of each tensor's norm
        options["compile"] = True if name == "compiled" else None
        words = pretrain_options(material, folder / name, **options)
        entries.append({"options": words, "save": False})
    (folder / "runs.json").write_text(json.dumps(entries))
    run_together(2, "tests/runs/many_runs.py", folder / "runs.json", timeout=300)
    return folder


@pytest.fixture(scope="module")
def expected(material: Path, tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    """Losses of the plain loop."""
    options = pretrain_options(material, tmp_path_factory.mktemp("reference"), total_steps=UPDATES, warmup=0.0)
    return reference_losses(read_config(options), sequences=32)


def losses(output: Path) -> list[float]:
    return [report["loss"] for report in metrics(output)]


@pytest.mark.parametrize("name", EXACT)
def test_a_feature_changes_no_loss(name: str, trained: Path, expected: list[float]) -> None:
    assert losses(trained / name) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", ["hpz", "cut-smaller", "lion3"])
def test_stage_3_really_divides(name: str, trained: Path) -> None:
    """And the second partition of hpZ is made."""
    tensors = json.loads((trained / name / "tensors.json").read_text())
    assert tensors["cut"] == tensors["let go"] == tensors["all"] > 20
    assert tensors["cut again"] == (tensors["all"] if name == "hpz" else 0)


def test_autocast_stays_near_the_plain_loop(trained: Path, expected: list[float]) -> None:
    assert losses(trained / "autocast") == pytest.approx(expected, rel=2e-2)


@pytest.mark.parametrize("name", LION[1:])
def test_lion_is_the_same_however_it_is_partitioned(name: str, trained: Path, expected: list[float]) -> None:
    """To 1e-3 only: the sign of a sum near 0 may differ with the order in which ranks add."""
    found = losses(trained / name)
    assert found == pytest.approx(losses(trained / "lion0"), rel=1e-3)
    assert found != pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("name", WHOLE)
def test_optimizers_of_whole_matrices_learn(name: str, trained: Path, expected: list[float]) -> None:
    found = losses(trained / name)
    assert found[-1] < found[0] - 0.1
    assert found != pytest.approx(expected, rel=1e-3)


def test_the_flops_profiler_writes_its_table(trained: Path) -> None:
    text = (trained / "flops.txt").read_text()
    assert "params per GPU" in text
    assert "TransformerEncoder" in text


def test_monitors_get_training_and_evaluation(trained: Path) -> None:
    rows = {path.stem: list(csv.reader(path.open())) for path in (trained / "csv_monitor" / "job").glob("*.csv")}
    reported = [float(value) for _, value in rows["train_loss"][1:]]
    assert reported == pytest.approx(losses(trained / "csv"))
    evaluated = [float(value) for _, value in rows["eval_loss"][1:]]
    assert evaluated == pytest.approx([line["loss"] for line in metrics(trained / "csv", "evaluations.jsonl")])
    assert len(evaluated) == 3


def test_evaluations_are_deterministic(trained: Path) -> None:
    first, again = (metrics(trained / name, "evaluations.jsonl") for name in ("csv", "again"))
    assert first == again
    assert [line["update"] for line in first] == [0, 4, UPDATES]
    assert first[-1]["loss"] < first[0]["loss"]


@pytest.mark.long
def test_nvme_changes_no_loss(material: Path, tmp_path: Path, run: Run, expected: list[float]) -> None:
    """Weights, gradients and moments live in files. Marked long: DeepSpeed compiles its reader for minutes, once."""
    from uer_ds.engine.probe import can_do_aio

    if not can_do_aio():
        pytest.skip("libaio is not installed (apt install libaio-dev)")
    engine = shipped("zero3_nvme_bf16")
    del engine["bf16"]
    for part in ("offload_optimizer", "offload_param"):
        engine["zero_optimization"][part] |= {"nvme_path": str(tmp_path / "nvme"), "pin_memory": False}
    engine["zero_optimization"]["offload_param"]["buffer_size"] = 100_000  # its buffers are for large models
    engine["zero_optimization"]["sub_group_size"] = 100_000
    (tmp_path / "nvme.json").write_text(json.dumps(engine))
    options = {"ds_config": tmp_path / "nvme.json", "total_steps": UPDATES, "warmup": 0.0, "save_checkpoint_steps": 4}
    words = pretrain_options(material, tmp_path / "run", **options)
    run(*two_by_deepspeed("launch/pretrain.py", *words), timeout=600)
    assert losses(tmp_path / "run") == pytest.approx(expected, rel=1e-5)
    assert {path.name for path in (tmp_path / "nvme").rglob("rank*")} == {"rank0", "rank1"}
