"""DeepSpeed's autotuner: an experiment as it starts one, and in the long form a whole search."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.runs.conftest import BIN, ROOT, Run, pretrain_options, two_by_deepspeed
from tests.runs.test_hostfile import executable
from uer_ds.launch.address import free_port

AUTOTUNING = {"enabled": True, "start_profile_step": 2, "end_profile_step": 3}
SSH = '#!/bin/sh\nwhile [ "${1#-}" != "$1" ]; do shift 2; done\nshift\nexec sh -c "$*"\n'
"""Runs the command here, whatever the host; options have a value each."""


def test_an_experiment_measures_and_leaves_no_trace(material: Path, tmp_path: Path, run: Run) -> None:
    tried = {
        "train_micro_batch_size_per_gpu": 4,
        "gradient_accumulation_steps": 2,
        "zero_optimization": {"stage": 1},
        "autotuning": {**AUTOTUNING, "metric_path": str(tmp_path / "metrics.json")},
    }
    text = base64.urlsafe_b64encode(json.dumps(tried).encode()).decode()
    words = pretrain_options(material, tmp_path / "run", ds_config=text, total_steps=2, batch_size=16)
    words[words.index("--ds_config")] = "--deepspeed_config"  # the name that the autotuner looks for
    done = run(*two_by_deepspeed("launch/pretrain.py", *words), TMPDIR=str(tmp_path))
    assert "update     16 sequences = 2 processes x 4 x 2" in done.stdout
    assert "died without a word" not in done.stderr
    assert json.loads((tmp_path / "metrics.json").read_text())["throughput"] > 0
    assert not (tmp_path / "run").exists()
    assert not list(tmp_path.glob("uer_ds_experiment_*"))


@pytest.mark.long
def test_a_whole_search(material: Path, tmp_path: Path, run: Run) -> None:
    (tmp_path / "bin").mkdir()
    executable(tmp_path / "bin" / "ssh", SSH)
    executable(tmp_path / "bin" / "pdsh", "#!/bin/sh\nexit 0\n")
    (tmp_path / "hosts").write_text("localhost slots=2\n")
    tuning = {**AUTOTUNING, "fast": True, "max_train_micro_batch_size_per_gpu": 8, "num_tuning_micro_batch_sizes": 2}
    start = {"train_micro_batch_size_per_gpu": "auto", "zero_optimization": {"stage": 1}, "autotuning": tuning}
    (tmp_path / "tune.json").write_text(json.dumps(start))
    words = pretrain_options(material, tmp_path / "run", ds_config="tune.json", total_steps=4)
    words[words.index("--ds_config")] = "--deepspeed_config"
    command = ["deepspeed", "--hostfile", "hosts", "--master_addr", "127.0.0.1", "--master_port", str(free_port())]
    command += ["--autotuning", "tune", str(ROOT / "launch/pretrain.py"), *words]
    path = f"{tmp_path / 'bin'}:{BIN}:{os.environ['PATH']}"
    environ = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "TMPDIR": tempfile.mkdtemp(dir=tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-4000:]
    best = tmp_path / "autotuning_results" / "ds_config_optimal.json"
    sizes = json.loads(best.read_text())
    assert not (tmp_path / "run").exists()
    options = {"ds_config": best, "total_steps": 2, "batch_size": sizes["train_micro_batch_size_per_gpu"]}
    options["accumulation_steps"] = sizes["gradient_accumulation_steps"]
    run(*two_by_deepspeed("launch/pretrain.py", *pretrain_options(material, tmp_path / "run", **options)))
