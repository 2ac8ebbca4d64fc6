"""SIGKILL at any moment, also in a save, a start or a resume: the run goes on, and nobody can tell from its result.

Every loss of every update and the final weights are, bit for bit, those of a run that was never disturbed, so no sample
was lost or repeated. The long form kills fifty times.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.runs.conftest import Run, metrics, pretrain_options

EXACT = ("update", "loss", "accuracy", "tokens", "samples", "learning_rate", "grad_norm")


def disturbed(material: Path, folder: Path, run: Run, kills: int) -> dict[str, Any]:
    """Train undisturbed and with `kills` kills, full disks and a preemption; returns what happened."""
    updates = 10 * (kills + 2)
    usual = {"ds_config": "zero2", "total_steps": updates, "save_checkpoint_steps": 3, "keep_checkpoints": 2}
    usual["report_steps"] = 2  # every second checkpoint holds an update that is not reported yet
    undisturbed, options = (
        pretrain_options(material, folder / name, **usual, dropout=0.1, batch_size=4)
        for name in ("undisturbed", "killed")
    )
    plan = {"undisturbed": undisturbed, "options": options, "output": str(folder / "killed"), "seed": kills}
    (folder / "plan.json").write_text(json.dumps({**plan, "kills": kills, "updates": updates}))
    run(
        sys.executable,
        "tests/runs/kill_runs.py",
        folder / "plan.json",
        folder / "result.json",
        timeout=300 + 60 * kills,
    )
    return json.loads((folder / "result.json").read_text())


def check(folder: Path, result: dict[str, Any], kills: int) -> None:
    """Everything that must hold after the kills."""
    assert result["undisturbed"] == result["statuses"] == [0, 0]
    events = result["events"]
    assert len(events) == kills
    assert all(event["reached"] for event in events)
    assert sum(event["during_save"] for event in events) >= kills // 4
    assert {event["killed_rank"] for event in events} == {0, 1}
    assert {event["moment"] for event in events} == {"start", "save", "update"}
    assert all(event["statuses"][0] == -9 for event in events)
    met = [event for event in events if event["moment"] != "start"]  # otherwise the launcher ends the other
    assert all(event["statuses"][1] not in (None, 0) for event in met)
    assert max(event["seconds_of_other"] for event in met) < 20
    origins = [event["resumed_from"] for event in events]
    assert origins == sorted(origins)
    check_full_disk(result)
    assert result["preempted"] == {"reached": True, "statuses": [75, 75]}
    whole, again = (metrics(folder / name) for name in ("undisturbed", "killed"))
    assert [[report[key] for key in EXACT] for report in again] == [[report[key] for key in EXACT] for report in whole]
    last = f"checkpoint-{whole[-1]['update']}/model.safetensors"
    expected, found = (load_file(folder / name / last) for name in ("undisturbed", "killed"))
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def check_full_disk(result: dict[str, Any]) -> None:
    """A rank that cannot write ends both with one sentence, and leaves nothing behind."""
    for event in result["full"]:
        assert event["statuses"] == [2, 2]
        assert event["said"].count("the checkpoint could not be written (zero_pp_rank_1") == 1
        assert "File too large" in event["said"]
        assert "earlier ones are untouched" in event["said"]
        assert "Traceback" not in event["said"]
        assert event["left"] == []


def test_five_kills(material: Path, tmp_path: Path, run: Run) -> None:
    check(tmp_path, disturbed(material, tmp_path, run, 5), 5)


@pytest.mark.long
def test_fifty_kills(material: Path, tmp_path: Path, run: Run) -> None:
    check(tmp_path, disturbed(material, tmp_path, run, 50), 50)
