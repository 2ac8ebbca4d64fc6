"""A disk that is full at any moment of a run: one sentence, status 2, no checkpoint by halves. On small file systems.

Status 2 tells job scripts not to try again.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.runs.conftest import BIN, ROOT, Run, fill_disk, metrics, pretrain_options
from uer_ds.launch.address import free_port

Disk = Callable[[str], Path]


def test_at_the_start(material: Path, disk: Disk, run: Run) -> None:
    """Not even the lock can be written."""
    folder = disk("64k")
    fill_disk(folder / "ballast")
    done = run("uer-ds", "pretrain", *pretrain_options(material, folder / "run"), expect=2)
    assert f"{folder / 'run'} cannot be written (No space left on device)" in done.stderr
    assert "Traceback" not in done.stderr


def test_between_two_checkpoints(material: Path, disk: Disk) -> None:
    """At a report: both ranks end."""
    folder = disk("4m")
    output = folder / "run"
    words = pretrain_options(material, output, total_steps=5000, save_checkpoint_steps=5000, ds_config="zero2")
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": f"{BIN}:{os.environ['PATH']}"}
    command = ["uer-ds", "pretrain", "--world_size", "2", "--master_ip", f"tcp://localhost:{free_port()}", *words]
    started = subprocess.Popen(
        command, cwd=ROOT, env=environ, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while not (output / "metrics.jsonl").exists() and time.monotonic() < deadline and started.poll() is None:
        time.sleep(0.05)
    fill_disk(folder / "ballast")
    _, said = started.communicate(timeout=120)
    assert started.returncode == 2, said
    assert "cannot be written (No space left on device); make room and run the same command again." in said
    assert "Traceback" not in said


@pytest.mark.parametrize("weights", ["safetensors", "uer"])
def test_in_what_rank_0_writes_of_a_checkpoint(weights: str, material: Path, disk: Disk, run: Run) -> None:
    """There is room for less and less: the state, the vocabulary, the plain weights do not fit."""
    folder = disk("64m")
    plan = []
    for left in (20_000, *range(110_000, 200_000, 4096)):
        options = {"total_steps": 1, "save_weights": weights}
        words = pretrain_options(material, folder / str(left), tensorboard_dir=folder.parent / "board", **options)
        plan.append({"options": words, "fill": left})
    (folder.parent / "plan.json").write_text(json.dumps(plan))
    run(sys.executable, "tests/runs/many_runs.py", folder.parent / "plan.json")
    without_room = []
    for entry in plan:
        output = folder / str(entry["fill"])
        said = (output / "error-0.txt").read_text() if (output / "error-0.txt").exists() else ""
        if said:
            without_room.append(said)
            assert said.startswith(f"{output}/checkpoint-1: the checkpoint could not be written (")
            assert "No space left on device" in said
            assert said.endswith("earlier ones are untouched: make room and run the same command again.")
            assert not list(output.glob("*checkpoint*")) + list(output.glob(".checkpoint*"))
        else:
            assert [report["update"] for report in metrics(output)] == [1]
    for name in ("model.", "/tokenizer", "state.json"):
        assert any(name in said for said in without_room), name
    assert len(without_room) < len(plan), "the last one has room enough"
