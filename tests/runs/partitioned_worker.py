"""Two ranks build models into ZeRO-3 partitions; started by `test_partitioned.py`, the argument is a folder.

Rank 0 saves each gathered model; each rank writes its peak memory in building a large one, and in saving a checkpoint.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.runs.partitioned_cases import CASES, LARGE, SEED, Case, large_config, saved_config
from uer_ds.config.run import OptimConfig
from uer_ds.engine import distributed
from uer_ds.engine.ds_config import engine_config
from uer_ds.engine.engine import Engine
from uer_ds.engine.group import Group
from uer_ds.engine.partitioned import gathered, partitioned, whole_size
from uer_ds.launch.leaving import leave
from uer_ds.launch.place import find_place
from uer_ds.models.init import decays, shrink_branches
from uer_ds.models.model import Model, build_model
from uer_ds.models.weights import load_weights, save_weights
from uer_ds.train.checkpoint import State
from uer_ds.train.optim import build_optimizer
from uer_ds.train.saving import Saver, SavingRules


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
    """VmRSS (now), VmHWM (the highest so far) or RssAnon (now, without files) of this process."""
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


def peak_of(work: Callable[[], None]) -> float:
    """Most memory (MiB) that `work` takes at once; pages of files do not count, which the system takes back at will."""
    before = peak = memory_mb("RssAnon")
    over = threading.Event()

    def look() -> None:
        nonlocal peak
        while not over.wait(0.002):
            peak = max(peak, memory_mb("RssAnon"))

    watcher = threading.Thread(target=look)
    watcher.start()
    work()
    over.set()
    watcher.join()
    return peak - before


def measure_save(folder: Path, group: Group) -> None:
    """What saving a checkpoint with plain weights takes at its peak beyond what training has already."""
    config = engine_json("fp32")
    with partitioned(config, "a test"):
        model = build_model(saved_config())
    optimizer = build_optimizer(model, decays(model), OptimConfig())
    engine = Engine(model, optimizer, config, "a test")
    whole = 4 * engine.parameter_count / 2**20
    output = folder / "saved"
    output.mkdir(exist_ok=True)
    saver = Saver(output, engine, group, saved_config(), {}, SavingRules(), print)
    saved = peak_of(lambda: saver.save(State(1, 0, 0, {}, SEED, {}, {}, [], {}, {})))
    size = (output / "checkpoint-1" / "model.safetensors").stat().st_size / 2**20
    numbers = {"saved": saved, "whole": whole, "file": size}
    (folder / f"save-{group.place.rank}.json").write_text(json.dumps(numbers))
    shutil.rmtree(output, ignore_errors=True)


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
        measure_save(folder, group)


if __name__ == "__main__":
    main(Path(sys.argv[-1]))
    leave()
