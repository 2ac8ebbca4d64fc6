"""Peak memory of real runs against what `uer-ds plan` says, one case after another, each in processes of its own.

    python bench/memory.py                              the standard cases: tiny, small, base; stages 0 to 3; fp32, bf16
    python bench/memory.py --cases base.3.bf16.1        some of them: MODEL.STAGE.PRECISION.RANKS
    python bench/memory.py -- --batch_size 16           with options of `uer-ds pretrain`

What is measured is the highest resident memory (VmHWM) of a rank in a few updates on the CPU. glibc keeps what was
freed for later, so a process that uses it as it is holds more than it needs; here pieces from 64 KiB on go back to the
system at once (MALLOC_MMAP_THRESHOLD_), and what is resident is what is alive. `--as_it_is` leaves glibc alone and so
shows what a real run takes. Pages count when they are touched: DeepSpeed's buckets count as far as they are filled.
The first column of figures is what Python, torch, DeepSpeed and the group of processes take before anything is built.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import io
import json
import os
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.ranks import run_ranks
from uer_ds.launch.leaving import leave

MODELS = {"tiny": "bert/tiny_config", "small": "roberta_L-4_H-512", "base": "bert/base_config"}
CASES = [f"{model}.{stage}.{kind}.1" for model in MODELS for kind in ("fp32", "bf16") for stage in range(4)]
CASES += [f"{model}.{stage}.{kind}.2" for model in ("tiny", "small") for kind in ("fp32", "bf16") for stage in range(4)]
RETURNED = 2**16
"""Pieces from this size on (bytes) go back to the system when they are freed."""

THREADS = "1"
UPDATES = 3
USUAL = ["--data_processor", "mlm", "--target", "mlm", "--total_steps", "1000", "--no_resume", "--batch_size", "8"]


def main() -> None:
    """Measure and print each case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", default=CASES, metavar="CASE")
    parser.add_argument("--as_it_is", action="store_true", help="glibc as a real run has it")
    parser.add_argument("--folder", help=argparse.SUPPRESS)  # in the processes that are measured
    parser.add_argument("--json", help="file for the figures")
    parser.add_argument("options", nargs="*", help="options of uer-ds pretrain, behind --")
    args = parser.parse_args()
    if args.folder:
        measure(Path(args.folder), args.options, args.as_it_is)
        leave()
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        dataset = make_dataset(Path(folder))
        for case in args.cases:
            options = [*case_options(case), "--dataset_path", str(dataset), *args.options]
            found = run_case(Path(folder), case, options, args.as_it_is)
            figures.append({"case": case, **found, "planned": planned(options, case)})
            say(figures[-1])
    if args.json:
        Path(args.json).write_text(json.dumps(figures, indent=1))


def planned(options: list[str], case: str) -> dict[str, float]:
    """What `uer-ds plan` says of the same run: bytes by moment, and of all that stays."""
    from train import run_config

    from uer_ds.plan.choices import plan_of
    from uer_ds.plan.memory import moments

    run = run_config([*options, "--output_model_path", "output"])
    plan = plan_of(run, int(case.split(".")[3]), "cpu")
    return {name: memory.total for name, memory in moments(plan.subject, plan.division, plan.rows).items()}


def say(figures: dict[str, Any]) -> None:
    """One line: the fixed part, the highest memory measured and planned, in MB."""
    measured, planned = (max(figures[name].values()) for name in ("peaks", "planned"))
    moment = max(figures["planned"], key=figures["planned"].get)
    sizes = f"{figures['fixed'] / 1e6:5.0f} fixed  {measured / 1e6:6.0f} measured  {planned / 1e6:6.0f} planned"
    print(f"{figures['case']:16} {sizes}  {measured / planned:.3f}  {moment}", flush=True)


def make_dataset(folder: Path) -> Path:
    """Random characters, a document a row."""
    from train import make_dataset

    return make_dataset(folder, 2000)


def case_options(case: str) -> list[str]:
    """Options of `uer-ds pretrain` for MODEL.STAGE.PRECISION.RANKS."""
    model, stage, kind, _ = case.split(".")
    engine = f"zero{stage}" + ("" if kind == "fp32" else f"_{kind}")
    return [*USUAL, "--config_path", MODELS[model], "--ds_config", engine]


def run_case(folder: Path, case: str, options: list[str], as_it_is: bool) -> dict[str, Any]:
    """Start the ranks; the figures of the one that took most."""
    ranks = int(case.split(".")[3])
    variables = {"OMP_NUM_THREADS": THREADS}
    if not as_it_is:
        variables["MALLOC_MMAP_THRESHOLD_"] = variables["MALLOC_TRIM_THRESHOLD_"] = str(RETURNED)
    words = [sys.executable, __file__, "--folder", str(folder), *(["--as_it_is"] if as_it_is else []), "--", *options]
    answers = run_ranks(words, ranks, variables)
    return max((json.loads(lines[-1]) for lines in answers), key=lambda found: max(found["peaks"].values()))


def memory(name: str) -> float:
    """VmRSS (now) or VmHWM (the highest since `anew`) of this process, in bytes."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status[name].split()[0]) * 1024.0


def anew() -> None:
    """Let VmHWM begin at what is resident now."""
    Path("/proc/self/clear_refs").write_text("5")


class Peaks:
    """The highest memory in each part of an update."""

    def __init__(self) -> None:
        self.bytes: dict[str, float] = defaultdict(float)

    def wrap(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, watched."""

        def watched(*args: Any, **options: Any) -> Any:
            anew()
            result = function(*args, **options)
            self.bytes[part] = max(self.bytes[part], memory("VmHWM"))
            return result

        return watched


def measure(folder: Path, options: list[str], as_it_is: bool) -> None:
    """In a process of its own: a few updates; prints the figures of this rank."""
    from train import run_config

    from uer_ds.engine import distributed
    from uer_ds.launch.place import find_place
    from uer_ds.train.loop import agree, run_update
    from uer_ds.train.pretrain import Trainer
    from uer_ds.train.stopping import StopWish

    with distributed.joined(find_place(os.environ)) as group, contextlib.redirect_stdout(io.StringIO()):
        fixed, peaks = memory("VmRSS"), Peaks()
        run = run_config([*options, "--output_model_path", str(folder / "output")])
        trainer = peaks.wrap("start", Trainer)(run, group, folder / "output", StopWish())
        if not as_it_is:  # building into partitions sets glibc's thresholds, too
            ctypes.CDLL(None).mallopt(-3, RETURNED)
            ctypes.CDLL(None).mallopt(-1, RETURNED)
        engine, held = trainer.engine, memory("VmRSS")
        inner = engine._engine
        engine.forward = peaks.wrap("forward", engine.forward)  # type: ignore[method-assign]
        inner.backward, inner.step = peaks.wrap("backward", inner.backward), peaks.wrap("step", inner.step)
        with trainer._loader() as loader:
            for update in range(UPDATES):
                batches = next(loader)
                engine.set_learning_rate(1e-4)
                run_update(engine, batches, agree(group, batches, trainer.wish), group, 1, update)
        now = memory("VmRSS")
    print(json.dumps({"fixed": fixed, "held": held, "between": now, "peaks": peaks.bytes}))


if __name__ == "__main__":
    main()
