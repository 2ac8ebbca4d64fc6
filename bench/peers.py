"""Another project's training and ours, in turn on one machine: what the comparisons share.

Masked language modelling on full rows of random characters, 15 % of the tokens masked, AdamW, one process on all cores.
Runs alternate, the best of --repeat counts for both sides, and the ratio is what a noisy machine leaves standing.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from bench.ranks import ROOT

WARM_UP = 3
"""Updates before the clock runs."""

Measure = Callable[[argparse.Namespace, str, str], float]
"""Tokens a second of one run: options, size, precision."""


def comparison_parser(description: str | None, precisions: list[str]) -> argparse.ArgumentParser:
    """The options that all comparisons have."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["tiny", "small"], help="sizes of models/bert")
    parser.add_argument("--precisions", nargs="+", default=precisions, choices=["fp32", "bf16"])
    parser.add_argument("--batch_size", type=int, default=32, help="rows")
    parser.add_argument("--seq_length", type=int, default=128)
    parser.add_argument("--updates", type=int, default=10)
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--json", type=Path, help="file for the figures")
    return parser


def compare(args: argparse.Namespace, name: str, peer: Measure) -> None:
    """Measure every pair, print the table, write the figures."""
    print(f"| model | precision | {name} | uer_ds | ratio |\n|---|---|---|---|---|")
    found = []
    for model in args.models:
        for precision in args.precisions:
            theirs, ours = 0.0, 0.0
            for _ in range(args.repeat):
                theirs = max(theirs, peer(args, model, precision))
                ours = max(ours, our_speed(args, model, precision))
            ratio = ours / theirs
            found.append({"model": model, "precision": precision, "peer": theirs, "uer_ds": ours, "ratio": ratio})
            print(f"| {model} | {precision} | {theirs:,.0f} | {ours:,.0f} | {ratio:.2f} |", flush=True)
    if args.json:
        args.json.write_text(json.dumps({"peer": name, "figures": found}, indent=1))


def our_speed(args: argparse.Namespace, model: str, precision: str) -> float:
    """Tokens a second of bench/train.py under ZeRO 1, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        options = ["--config_path", f"bert/{model}_config", "--batch_size", str(args.batch_size)]
        options += ["--seq_length", str(args.seq_length), "--ds_config", "zero1" + "_bf16" * (precision == "bf16")]
        path = Path(folder) / "figures.json"
        words = ["--updates", str(args.updates), "--warm_up", str(WARM_UP), "--json", str(path), "--", *options]
        output([sys.executable, str(ROOT / "bench/train.py"), *words])
        return float(json.loads(path.read_text())["tokens_per_second"])


def output(command: list[str], folder: Path | None = None) -> tuple[str, str]:
    """What a command prints, on stdout and on stderr; ends this process with its words when it fails."""
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return done.stdout, done.stderr
