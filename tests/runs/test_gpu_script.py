"""bench/gpu.sh, which is for a machine with a GPU, is right on a CPU: everything that it checks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.runs.conftest import Run


@pytest.mark.long
def test_everything_that_is_checked_on_a_gpu_holds_here(tmp_path: Path, run: Run) -> None:
    run("bash", "bench/gpu.sh", "prepare", tmp_path / "data")
    run("python", "bench/gpu.py", "check", tmp_path / "data", tmp_path / "check.json")
    results = json.loads((tmp_path / "check.json").read_text())
    assert len(results) > 70 and all(result["right"] for result in results.values())
    assert {name.split()[0] for name in results} == {"golden", "packed", "training", "resuming"}
