"""What a checkpoint costs: seconds that training waits, seconds until it is whole on the disk, seconds to load it.

python bench/checkpoint.py [--layers 4] [--hidden 512]     prints a table and writes checkpoint_bench.json

Two processes, ZeRO stages 0 to 3, while training waits and in the background (`--async_checkpoint`). *load* is done by
the same number of processes at the same stage, *load elsewhere* by the next stage (after 3 comes 0), which reads and
divides anew.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.runs.conftest import TINY_MODEL, make_material, pretrain_options, start

STAGES = ("zero0", "zero1", "zero2", "zero3")
UPDATES, SAVES_EVERY = 24, 8


def timed(function: Callable[..., Any], seconds: list[float]) -> Callable[..., Any]:
    """`function`, noting how long each call takes."""

    def call(*values: Any, **named: Any) -> Any:
        began = time.perf_counter()
        result = function(*values, **named)
        seconds.append(time.perf_counter() - began)
        return result

    return call


def measure(group: Any, options: list[str], checkpoint: Path | None = None) -> dict[str, Any]:
    """Train as `options` say (after putting `checkpoint` in place); what saving and loading cost on this rank."""
    from uer_ds.cli import pretrain as command
    from uer_ds.cli.parser import Parser
    from uer_ds.engine.engine import Engine
    from uer_ds.train.pretrain import Trainer
    from uer_ds.train.stopping import StopWish

    parser = Parser()
    command.add_arguments(parser)
    config = command.make_run_config(parser.parse_args(options))
    output = Path(config.paths.output_model_path or "")
    if checkpoint is not None:
        group.on_first(lambda: shutil.copytree(checkpoint, output / checkpoint.name, copy_function=os.link) and None)
    group.on_first(lambda: output.mkdir(parents=True, exist_ok=True))
    loads: list[float] = []
    plain = Engine.load
    Engine.load = timed(plain, loads)  # type: ignore[method-assign]
    trainer = Trainer(config, group, output, StopWish())
    Engine.load = plain  # type: ignore[method-assign]
    begun: list[float] = []
    whole: list[float] = []
    stalls: list[float] = []
    save, say = trainer.saver.save, trainer.saver._say
    trainer.saver._say = lambda line: (whole.append(time.perf_counter()), say(line))[1]
    inner = timed(save, stalls)
    trainer.saver.save = lambda state: (begun.append(time.perf_counter()), inner(state))[1]  # type: ignore[method-assign]
    trainer.train()
    return {
        "parameters": trainer.engine.parameter_count,
        "stall": stalls,
        "whole": [end - start_ for start_, end in zip(begun, whole, strict=False)],
        "load": loads,
    }


def inside(plan: dict[str, Any]) -> None:
    """On each rank: all measurements, rank 0's into a file."""
    from uer_ds.engine import distributed
    from uer_ds.launch.place import find_place

    results = {}
    with distributed.joined(find_place(os.environ)) as group:
        for name, (options, checkpoint) in plan["runs"].items():
            results[name] = measure(group, options, Path(checkpoint) if checkpoint else None)
    if os.environ["RANK"] == "0":
        Path(plan["results"]).write_text(json.dumps(results))


def make_plan(folder: Path, layers: int, hidden: int) -> dict[str, Any]:
    """Two trainings that save and two that load, for every stage."""
    material = folder / "material"
    material.mkdir()
    make_material(material)
    model = {**TINY_MODEL, "emb_size": hidden, "hidden_size": hidden, "feedforward_size": 4 * hidden, "heads_num": 8}
    (material / "model.json").write_text(json.dumps({**model, "layers_num": layers}))
    usual = {"total_steps": UPDATES, "batch_size": 4, "save_checkpoint_steps": SAVES_EVERY, "keep_checkpoints": 1}
    runs: dict[str, Any] = {}

    def add(name: str, checkpoint: Path | None = None, **options: Any) -> None:
        runs[name] = (pretrain_options(material, folder / name, **{**usual, **options}), str(checkpoint or ""))

    for place, stage in enumerate(STAGES):
        add(stage, ds_config=stage)
        add(f"{stage}-async", ds_config=stage, async_checkpoint=True)
        last = folder / stage / f"checkpoint-{UPDATES}"
        add(f"{stage}-load", last, ds_config=stage, total_steps=UPDATES + 1)
        add(f"{stage}-elsewhere", last, ds_config=STAGES[(place + 1) % 4], total_steps=UPDATES + 1)
    return {"runs": runs, "results": str(folder / "results.json")}


def main(layers: int, hidden: int) -> None:
    """Launch the measurements, print the table."""
    with tempfile.TemporaryDirectory(dir=".") as temporary:
        folder = Path(temporary).resolve()
        plan = make_plan(folder, layers, hidden)
        (folder / "plan.json").write_text(json.dumps(plan))
        words = ("deepspeed", "--num_accelerators", "2", "--master_port", "29721", __file__)
        start(*words, "--inside", folder / "plan.json", timeout=3000)
        results = json.loads(Path(plan["results"]).read_text())
        size = sum(path.stat().st_size for path in (folder / "zero2" / f"checkpoint-{UPDATES}").rglob("*.*"))
    Path("checkpoint_bench.json").write_text(json.dumps(results, indent=1))
    print(f"{results['zero2']['parameters']:,} parameters, {size / 1e6:.0f} MB a checkpoint; medians, seconds")
    print("| stage | stall | whole on disk | stall, async | whole on disk, async | load | load elsewhere |")
    print("|---|---|---|---|---|---|---|")
    for stage in STAGES:
        keys = [(stage, "stall"), (stage, "whole"), (f"{stage}-async", "stall"), (f"{stage}-async", "whole")]
        keys += [(f"{stage}-load", "load"), (f"{stage}-elsewhere", "load")]
        print(f"| {stage} |", " | ".join(f"{statistics.median(results[run][key]):.2f}" for run, key in keys), "|")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    parser.add_argument("--local_rank", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.inside:
        inside(json.loads(Path(given.inside).read_text()))
    else:
        main(given.layers, given.hidden)
