"""Not a test: writes checkpoints under some divisions, continues each under others, compares. Also used by `bench/`.

A *division* is "RANKS:DEEPSPEED JSON", for example "2:zero3_offload", where an update has `SEQUENCES`, or with another
number of sequences, which three ranks can share, "3:zero3@48". All trainings of one number of ranks run in one
process group (`many_runs.py`), since each launch costs seconds.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from tests.runs.conftest import metrics, pretrain_options, start_together

STOP, UPDATES, SEQUENCES = 10, 30, 32
"""Updates before the change and in all, so that twenty are compared; sequences in an update."""


def parts(division: str) -> tuple[int, str, int]:
    """Number of ranks, name of the DeepSpeed JSON, sequences in an update."""
    ranks, _, rest = division.partition(":")
    engine, _, sequences = rest.partition("@")
    return int(ranks), engine, int(sequences or SEQUENCES)


def folder_name(*divisions: str) -> str:
    """Where the run lies that was written by the first and continued by the second."""
    return "-then-".join(division.replace(":", "x") for division in divisions)


def written(material: Path, folder: Path, division: str) -> dict[str, Any]:
    """A training that stops after `STOP` updates, leaving a checkpoint and what is in its engine."""
    return {
        "options": _options(material, folder / folder_name(division), division),
        "stop_after": STOP,
        "dump": "after",
    }


def continued(material: Path, folder: Path, before: str, now: str, **options: Any) -> dict[str, Any]:
    """A training that continues that checkpoint to the end; dumps its engine before the first update."""
    ranks, _, sequences = parts(now)
    if sequences % (16 * ranks) == 0:
        options = {"batch_size": 16, **options}
    return {
        "options": _options(material, folder / folder_name(before, now), now, **options),
        "checkpoint": str(folder / folder_name(before) / f"checkpoint-{STOP}"),
        "dump": "before",
        "save": False,
    }


def undisturbed(material: Path, folder: Path, sequences: int = SEQUENCES) -> dict[str, Any]:
    """The same training by two ranks at stage 1, never stopped."""
    return {"options": _options(material, folder / f"undisturbed-{sequences}", f"2:zero1@{sequences}")}


def _options(material: Path, output: Path, division: str, **options: Any) -> list[str]:
    """One micro-batch an update, unless `options` have a smaller one."""
    ranks, engine, sequences = parts(division)
    usual = {"ds_config": engine, "total_steps": UPDATES, "batch_size": sequences // ranks}
    return pretrain_options(material, output, **{**usual, **options})


def kept(material: Path, folder: Path) -> dict[str, Any]:
    """A short training under stage 3 that uses every option of saving, in the background."""
    options = {"total_steps": 6, "save_checkpoint_steps": 2, "keep_checkpoints": 1, "keep_every_checkpoint": 2}
    options |= {"save_weights": "uer", "async_checkpoint": True, "global_batch_size": SEQUENCES, "ds_config": "zero3"}
    return {"options": pretrain_options(material, folder / "kept", **{"batch_size": 4, **options}), "dump": "after"}


def launch(folder: Path, ranks: int, entries: Iterable[dict[str, Any]], name: str) -> None:
    """Run all `entries` in one process group of `ranks`; what was printed is in `folder`/said-`name`."""
    plan = folder / f"plan-{name}.json"
    plan.write_text(json.dumps(list(entries)))
    said = start_together(ranks, "tests/runs/many_runs.py", plan, timeout=1500).stdout
    (folder / f"said-{name}").write_text(said)


def largest_difference(folder: Path, *divisions: str) -> float:
    """Relative difference of the losses of all updates after the change to those of the undisturbed run."""
    losses, expected = (
        {report["update"]: report["loss"] for report in metrics(folder / name)}
        for name in (folder_name(*divisions), f"undisturbed-{parts(divisions[-1])[2]}")
    )
    assert set(losses) >= set(range(STOP + 1, UPDATES + 1))
    return max(abs(losses[n] / expected[n] - 1.0) for n in range(STOP + 1, UPDATES + 1))


def carried_exactly(folder: Path, before: str, now: str) -> bool:
    """Whether weights, moments and step numbers in the new engine are, bit for bit, those of the old one."""
    old, new = (
        torch.load(folder / folder_name(*names) / "engine.pt", weights_only=True)
        for names in ((before,), (before, now))
    )
    assert len(old) > 20
    assert {len(values) for values in old.values()} == {4}  # weights, two moments, steps
    return old.keys() == new.keys() and all(
        old[name].keys() == new[name].keys() and all(torch.equal(old[name][key], new[name][key]) for key in old[name])
        for name in old
    )
