"""Two ranks build models into ZeRO-3 partitions; started by `test_partitioned.py`, the argument is a folder.

Rank 0 saves each gathered model; each rank writes its peak memory in building a large one.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.runs.partitioned_cases import CASES, LARGE, SEED, Case, large_config
from uer_ds.engine import distributed
from uer_ds.engine.ds_config import engine_config
from uer_ds.engine.partitioned import gathered, partitioned, whole_size
from uer_ds.launch.place import find_place
from uer_ds.models.init import shrink_branches
from uer_ds.models.model import Model, build_model
from uer_ds.models.weights import load_weights, save_weights


def engine_json(dtype: str) -> dict[str, Any]:
    given = {"zero_optimization": {"stage": 3}, **({dtype: {"enabled": True}} if dtype != "fp32" else {})}
    return engine_config(given, "a test", batch_size=1, accumulation_steps=1, world_size=2, max_grad_norm=0.0)


def build(case: Case) -> Model:
    torch.manual_seed(SEED)
    with partitioned(engine_json(case.dtype), "a test"):
        model = build_model(case.config())
    if case.deep_init:
        shrink_branches(model, gathered)
    return model


def save_gathered(model: Model, path: Path, keep: bool) -> None:
    weights = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        assert parameter.numel() == 0, f"{name} is whole outside `gathered`"
        with gathered([parameter]):
            weights[name] = parameter.detach().clone()
    if keep:
        save_weights(weights, path)


def memory_mb(name: str) -> float:
    """VmRSS (now) or VmHWM (the highest so far) of this process."""
    status = dict(line.split(":", 1) for line in open("/proc/self/status"))
    return int(status[name].split()[0]) / 1024


def measure(folder: Path, rank: int) -> None:
    """What building the large model, then reading its weights, takes at its peak beyond what the process had before."""
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM begins anew
    before = memory_mb("VmRSS")
    with partitioned(engine_json("fp32"), "a test"):
        model = build_model(large_config())
    built = memory_mb("VmHWM") - before
    load_weights(model, folder / f"{LARGE}.safetensors", gather=gathered)
    loaded = memory_mb("VmHWM") - before
    whole = sum(4 * whole_size(parameter) for parameter in model.parameters()) / 2**20
    first = next(model.parameters())
    with gathered([first]):
        assert not first.any(), "the file holds zeros only"
    (folder / f"{LARGE}-{rank}.json").write_text(json.dumps({"built": built, "loaded": loaded, "whole": whole}))


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    with distributed.joined(find_place(os.environ)) as group:
        rank = group.place.rank
        for name, case in CASES.items():
            model = build(case)
            save_gathered(model, folder / f"{name}.safetensors", rank == 0)
            if case.loads:
                load_weights(model, folder / f"{case.loads}.safetensors", gather=gathered)
                save_gathered(model, folder / f"{name}-loaded.safetensors", rank == 0)
        measure(folder, rank)


if __name__ == "__main__":
    main(Path(sys.argv[-1]))
