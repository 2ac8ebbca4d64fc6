"""Seconds from the command to the first update that is reported, for a new run and for one that resumes.

python bench/start.py [--layers 2] [--hidden 32] [--repeats 3]     prints a table of medians, writes start_bench.json

One process alone, and two under `uer-ds pretrain --world_size 2` and `deepspeed`, at ZeRO stages 1 and 3. The resumed
run reads the checkpoint's files twice: their checksums, then their contents.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.runs.conftest import BIN, ROOT, TINY_MODEL, make_material, metrics, pretrain_options

STAGES = ("zero1", "zero3")
LAUNCHERS = {
    "uer-ds pretrain": ("uer-ds", "pretrain"),
    "uer-ds pretrain --world_size 2": (
        "uer-ds",
        "pretrain",
        "--world_size",
        "2",
        "--master_ip",
        "tcp://localhost:29741",
    ),
    "deepspeed --num_accelerators 2": (
        "deepspeed",
        "--num_accelerators",
        "2",
        "--master_port",
        "29742",
        "launch/pretrain.py",
    ),
}


def seconds_to_update(command: list[str], output: Path, update: int) -> float:
    """Run `command` to its end; when did the report of `update` come?"""
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": f"{BIN}:{os.environ['PATH']}"}
    began = time.perf_counter()
    process = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not reported(output, update):
        time.sleep(0.01)
    seconds = time.perf_counter() - began
    if process.wait() or not reported(output, update):
        raise SystemExit(f"{' '.join(command)} ended with status {process.returncode}")
    return seconds


def reported(output: Path, update: int) -> bool:
    """Whether the run has reported `update`."""
    return (output / "metrics.jsonl").exists() and any(line["update"] == update for line in metrics(output))


def measure(launcher: str, stage: str, folder: Path) -> tuple[float, float]:
    """A new run of one update, then the same command for two."""
    output = folder / "run"
    shutil.rmtree(output, ignore_errors=True)
    found = []
    for update in (1, 2):
        options = pretrain_options(folder, output, total_steps=update, ds_config=stage, batch_size=4)
        found.append(seconds_to_update([*LAUNCHERS[launcher], *options], output, update))
    return found[0], found[1]


def main(layers: int, hidden: int, repeats: int) -> None:
    """Measure everything, print the table."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = make_material(Path(temporary))
        sizes = {"emb_size": hidden, "hidden_size": hidden, "feedforward_size": 4 * hidden, "layers_num": layers}
        (folder / "model.json").write_text(json.dumps({**TINY_MODEL, **sizes}))
        results = {
            f"{launcher}, {stage}": [measure(launcher, stage, folder) for _ in range(repeats)]
            for launcher in LAUNCHERS
            for stage in STAGES
        }
    Path("start_bench.json").write_text(json.dumps(results, indent=1))
    print("| command, stage | new run | resumed |")
    print("|---|---|---|")
    for name, pairs in results.items():
        print(f"| {name} |", " | ".join(f"{statistics.median(column):.1f}" for column in zip(*pairs, strict=True)), "|")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--hidden", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    main(given.layers, given.hidden, given.repeats)
