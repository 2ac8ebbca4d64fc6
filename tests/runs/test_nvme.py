"""Optimizer state on NVMe: a resumed run is the same bit for bit. Needs DeepSpeed's asynchronous reader and writer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from deepspeed.ops.op_builder import AsyncIOBuilder
from safetensors.torch import load_file

from tests.runs.conftest import TINY_MODEL, Run, metrics, pretrain_options

WIDE = {"emb_size": 512, "hidden_size": 512, "feedforward_size": 2048, "heads_num": 8}
"""Large enough to be swapped: DeepSpeed keeps small groups in memory."""


@pytest.mark.long
@pytest.mark.skipif(not AsyncIOBuilder().is_compatible(False), reason="libaio or a compiler is missing")
def test_a_resumed_run_is_the_same_bit_for_bit(material: Path, tmp_path: Path, run_together: Run) -> None:
    (tmp_path / "wide.json").write_text(json.dumps({**TINY_MODEL, **WIDE}))
    options = {"config_path": tmp_path / "wide.json", "ds_config": tmp_path / "nvme.json", "total_steps": 6}
    for number, (name, stop) in enumerate((("whole", None), ("resumed", 3), ("resumed", None))):
        device = {"device": "nvme", "nvme_path": str(tmp_path / f"swap-{number}"), "buffer_count": 4}
        engine = tmp_path / f"nvme-{number}.json"  # a folder of its own for each, as after a restart elsewhere
        engine.write_text(json.dumps({"zero_optimization": {"stage": 3, "offload_optimizer": device}}))
        words = pretrain_options(material, tmp_path / name, **{**options, "ds_config": engine, "batch_size": 4})
        (tmp_path / "plan.json").write_text(json.dumps([{"options": words, "stop_after": stop}]))
        run_together(1, "tests/runs/many_runs.py", tmp_path / "plan.json", timeout=600)  # files are named by process
    assert any((tmp_path / "resumed" / "checkpoint-3").rglob("exp_avg-*.swp"))
    whole, resumed = ([report["loss"] for report in metrics(tmp_path / name)] for name in ("whole", "resumed"))
    assert whole == resumed
    expected, found = (load_file(tmp_path / n / "checkpoint-6" / "model.safetensors") for n in ("whole", "resumed"))
    assert all(torch.equal(expected[name], found[name]) for name in expected)
