"""--batch_size auto in a real run: it says what it chose, trains, and keeps its choice when it is resumed."""

from __future__ import annotations

import json
from pathlib import Path

from tests.runs.conftest import Run, metrics, pretrain_options


def test_the_chosen_micro_batch_is_said_and_kept(material: Path, tmp_path: Path, run: Run) -> None:
    usual = {"batch_size": "auto", "global_batch_size": 48, "save_checkpoint_steps": 2}
    first = run("uer-ds", "pretrain", *pretrain_options(material, tmp_path / "auto", **usual, total_steps=2)).stdout
    assert "batch      48 sequences in a micro-batch, the largest that fits" in first
    assert json.loads((tmp_path / "auto" / "run.json").read_text())["train"]["batch_size"] == 48
    again = run("uer-ds", "pretrain", *pretrain_options(material, tmp_path / "auto", **usual, total_steps=4)).stdout
    assert "batch      48 sequences in a micro-batch, as before" in again
    assert [report["update"] for report in metrics(tmp_path / "auto")] == [1, 2, 3, 4]


def test_a_job_with_too_little_memory_is_refused(material: Path, tmp_path: Path, run: Run) -> None:
    huge = {"config_path": "llama2/70b_config", "data_processor": "lm", "batch_size": "auto", "ds_config": "zero0"}
    options = pretrain_options(material, tmp_path / "auto", **huge)
    done = run("uer-ds", "pretrain", *options, expect=2)
    assert "--batch_size auto: one row of 32 tokens takes about" in done.stderr
