"""Tokens a second on one process and on two, weak and strong, against what `uer-ds plan` says; on one machine's CPUs.

    python bench/scaling.py                         roberta_L-4_H-512, stages 0 to 3
    python bench/scaling.py --stages 1 --repeat 3   the best of three for each
    OMP_PROC_BIND=false python bench/scaling.py     two processes as they were before they were bound to cores

Each run is bench/train.py in processes with one thread each. Weak: each process has --batch_size rows of its own;
strong: --batch_size rows altogether. The planner needs two figures of the machine: what one process reaches of plain
products (efficiency, from the run on one process at stage 0) and the bandwidth between processes (an all-reduce as
gradients are reduced). Planned is then everything else: how stages and processes compare.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.ranks import ROOT, run_ranks

BANDWIDTH = """
import os
from uer_ds.engine import distributed, probe
from uer_ds.launch.place import find_place
place = find_place(os.environ)
with distributed.joined(place) as group:
    best = max(probe.all_reduce(group, 64)[1] for _ in range(3))
    if place.is_first:
        print("bandwidth", best)
"""
ONE_THREAD = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
USUAL = ["--model", "roberta_L-4_H-512", "--data_processor", "mlm", "--target", "mlm", "--total_steps", "100000"]


def main() -> None:
    """Measure, plan, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stages", type=int, nargs="+", default=[0, 1, 2, 3])
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--updates", type=int, default=6)
    parser.add_argument("--repeat", type=int, default=2, help="runs of each case, of which the best counts")
    args = parser.parse_args()
    bandwidth = measured_bandwidth()
    print(f"bandwidth between two processes {bandwidth / 1e9:.2f} GB/s")
    reached: float | None = None
    for stage in args.stages:
        for ranks, rows in ((1, args.batch_size), (2, args.batch_size), (2, args.batch_size // 2)):
            options = [*USUAL, "--ds_config", f"zero{stage}", "--batch_size", str(rows)]
            found = max((train(options, ranks, args.updates) for _ in range(args.repeat)), key=speed)
            reached = reached or found["tflops"] / ranks
            planned = plan(options, ranks, reached, bandwidth)
            kind = "one" if ranks == 1 else "weak" if rows == args.batch_size else "strong"
            say(f"stage {stage} {kind}", found, planned)


def measured_bandwidth() -> float:
    """Bytes a second between two processes."""
    first, _ = run_ranks([sys.executable, "-c", BANDWIDTH], 2, ONE_THREAD)
    return max(float(line.split()[1]) for line in first if line.startswith("bandwidth"))


def train(options: list[str], ranks: int, updates: int) -> dict[str, Any]:
    """The figures of bench/train.py."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "figures.json"
        bench = [str(ROOT / "bench" / "train.py"), "--updates", str(updates), "--warm_up", "2", "--json", str(file)]
        run_ranks([sys.executable, *bench, "--", *options], ranks, ONE_THREAD)
        return dict(json.loads(file.read_text()))


def speed(figures: dict[str, Any]) -> float:
    """Tokens a second of all processes."""
    return float(figures["tokens_per_second"])


def plan(options: list[str], ranks: int, reached: float, bandwidth: float) -> float:
    """Tokens a second as planned, where one process computes `reached` TFLOP/s."""
    from uer_ds.cli import plan as command
    from uer_ds.cli.parser import Parser
    from uer_ds.plan.choices import plan_of
    from uer_ds.plan.cluster import DEVICES, Cluster
    from uer_ds.plan.timing import update_time

    device = dataclasses.replace(DEVICES["cpu"], float32_tflops=reached, node_bandwidth_gb=bandwidth / 1e9)
    cluster = Cluster("cpu", device, per_node=ranks, efficiency=1.0)
    parser = Parser()
    command.add_arguments(parser)
    config, _ = command.make_run_config(parser.parse_args([*options, "--vocab_size", "20907"]), cluster)
    made = plan_of(config, ranks, "cpu")
    return update_time(made.subject, made.model, made.division, made.rows, cluster).tokens_per_second


def say(name: str, found: dict[str, Any], planned: float) -> None:
    """One line."""
    step = found["parts"].get("step", 0.0) + found["parts"].get("agreement", 0.0)
    print(
        f"{name:15} {speed(found):7,.0f} tokens/s measured  {planned:7,.0f} planned  {planned / speed(found):5.2f}  "
        f"step {step:.0%} of the time",
        flush=True,
    )


if __name__ == "__main__":
    main()
