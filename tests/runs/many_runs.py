"""Not a test: runs several trainings one after the other in one process group, since each launch costs seconds.

deepspeed --num_accelerators 2 tests/runs/many_runs.py runs.json     [{"options": [...], "stop_after": 10 or null}, ...]

Other keys of an entry: "checkpoint", a folder that is copied to the output first; "dump": "before" or "after" training,
everything in the engine is gathered and saved as `engine.pt`. How many tensors of the model rank 0 holds in which way
between forward and backward is in `tensors.json`. "fill": before rank 0 writes its part of a checkpoint, the disk is
filled up to so many bytes. "slow": the first batch comes after so many seconds.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from deepspeed.accelerator import get_accelerator

from tests.runs.conftest import fill_disk
from tests.runs.gathering import gathered
from tests.runs.stop_after import StopAfter
from uer_ds.cli import pretrain as command
from uer_ds.cli.parser import Parser
from uer_ds.engine import distributed
from uer_ds.errors import UserError
from uer_ds.launch.leaving import leave
from uer_ds.launch.place import find_place
from uer_ds.train.pretrain import Trainer

assert "numba" not in sys.modules, "training must do without numba, and nothing here may import it"
sys.modules["numba"] = None  # type: ignore[assignment]


def poison(trainer: Trainer, updates: Sequence[int] = (), rank: int = 0, value: float = float("nan")) -> None:
    """Make the loss of the first micro-batch of some updates (counted from 1) `value` on one rank."""
    forward, steps = trainer.engine.forward, trainer.run.train.accumulation_steps
    calls = itertools.count(steps * trainer.progress.updates)

    def poisoned(batch: Any) -> Any:
        terms = forward(batch)
        if not torch.is_grad_enabled():  # an evaluation
            return terms
        update, micro_batch = divmod(next(calls), steps)
        if update + 1 not in updates or micro_batch or trainer.group.place.rank != rank:
            return terms
        return {name: (total * value, count) for name, (total, count) in terms.items()}

    trainer.engine.forward = poisoned  # type: ignore[method-assign]


def allow_float16() -> None:
    """Let DeepSpeed compute in float16 on the CPU: torch can, slowly."""
    kind = type(get_accelerator())
    kind.is_fp16_supported = lambda self: True
    kind.supported_dtypes = lambda self: [torch.float, torch.half, torch.bfloat16]


def main(plan: Path) -> None:
    """Run the plan's trainings; their results are in their output folders."""
    allow_float16()
    with distributed.joined(find_place(os.environ)) as group:
        for entry in json.loads(plan.read_text()):
            parser = Parser()
            command.add_arguments(parser)
            config = command.make_run_config(parser.parse_args(entry["options"]))
            output = Path(config.paths.output_model_path)
            output.mkdir(parents=True, exist_ok=True)
            if "checkpoint" in entry:
                group.on_first(lambda entry=entry, output=output: copy_checkpoint(Path(entry["checkpoint"]), output))
            trainer = Trainer(config, group, output, StopAfter(entry.get("stop_after")), saves=entry.get("save", True))
            poison(trainer, **entry.get("poison", {}))
            count_tensors(trainer)
            if "slow" in entry:
                slow_down(trainer, entry["slow"])
            if "fill" in entry:
                fill_before_publishing(trainer, entry["fill"])
            if entry.get("dump") == "before":
                dump(trainer)
            try:
                trainer.train()
            except UserError as error:
                (output / f"error-{group.place.rank}.txt").write_text(str(error))
            if entry.get("dump") == "after":
                dump(trainer)


def count_tensors(trainer: Trainer) -> None:
    """Between forward and backward: how many tensors there are, are cut over the ranks, let go, cut again (hpZ)."""
    backward = trainer.engine.backward_and_step

    def counted(loss: torch.Tensor) -> None:
        trainer.engine.backward_and_step = backward  # type: ignore[method-assign]
        tensors = list(trainer.engine.model.parameters())
        parts = [tensor for tensor in tensors if not getattr(tensor, "ds_persist", True)]
        counts = {
            "all": len(tensors),
            "cut": len(parts),
            "let go": sum(tensor.numel() == 0 for tensor in parts),
            "cut again": sum(tensor.ds_secondary_tensor is not None for tensor in parts),
        }
        if trainer.group.place.is_first:
            (trainer.output / "tensors.json").write_text(json.dumps(counts))
        backward(loss)

    trainer.engine.backward_and_step = counted  # type: ignore[method-assign]


def slow_down(trainer: Trainer, seconds: float) -> None:
    """Let the first batch be late, as from a slow disk."""
    objective = trainer.objective
    batch = objective.batch

    def late(*values: Any) -> Any:
        objective.batch = batch  # type: ignore[method-assign]
        time.sleep(seconds)
        return batch(*values)

    objective.batch = late  # type: ignore[method-assign]


def fill_before_publishing(trainer: Trainer, left: int) -> None:
    """Leave `left` bytes on the disk when rank 0 begins with plain weights, configuration and state."""
    publish, ballast = trainer.saver._publish, trainer.output.parent / "ballast"

    def publish_on_a_full_disk(*values: Any) -> str:
        fill_disk(ballast, left)
        trouble = publish(*values)
        ballast.unlink()
        return trouble

    trainer.saver._publish = publish_on_a_full_disk  # type: ignore[method-assign]


def copy_checkpoint(checkpoint: Path, output: Path) -> None:
    """Put a checkpoint into the folder of another run."""
    shutil.copytree(checkpoint, output / checkpoint.name, copy_function=os.link)


def dump(trainer: Trainer) -> None:
    """Save what the engine holds."""
    states = gathered(trainer.engine)
    if trainer.group.place.is_first:
        torch.save(states, trainer.output / "engine.pt")


if __name__ == "__main__":
    main(Path(sys.argv[-1]))
    leave()
