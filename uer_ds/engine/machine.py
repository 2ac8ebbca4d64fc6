"""The machine under a process: its device, its share of the cores, the versions of what computes on it."""

from __future__ import annotations

import math
import os
import platform
from pathlib import Path

import deepspeed
import psutil
import torch
from deepspeed.accelerator import get_accelerator

import uer_ds


def device() -> torch.device:
    """The device of this process."""
    accelerator = get_accelerator()
    if accelerator.device_name() == "cpu":
        return torch.device("cpu")
    return torch.device(accelerator.current_device_name())


def device_count() -> int:
    """Accelerators that this process sees; 0 where the CPU computes."""
    accelerator = get_accelerator()
    return 0 if accelerator.device_name() == "cpu" else int(accelerator.device_count())


def versions() -> dict[str, str]:
    """Versions of what a run's numbers depend on."""
    return {
        "uer_ds": uer_ds.__version__,
        "torch": torch.__version__,
        "deepspeed": deepspeed.__version__,
        "python": platform.python_version(),
    }


def free_memory(local_world_size: int) -> float:
    """Bytes that this process may still take: of its device, or a share of what the machine and its job have left."""
    where = device()
    if where.type == "cuda":
        return float(torch.cuda.mem_get_info()[0])
    if where.type != "cpu":
        return float(get_accelerator().available_memory())
    return min(psutil.virtual_memory().available, _left_to_job(Path("/"))) / local_world_size


def _left_to_job(root: Path) -> float:
    """What the kernel lets this job or container have besides what it has (cgroup, version 2); infinite: no limit."""
    left, mounted = math.inf, root / "sys/fs/cgroup"
    try:
        own = (root / "proc/self/cgroup").read_text().strip().rpartition("::")[2]
    except OSError:  # another system
        return left
    group = mounted / own.strip("/")
    for folder in (group, *group.parents):
        limit, used = folder / "memory.max", folder / "memory.current"
        if limit.is_file() and used.is_file() and (text := limit.read_text().strip()) != "max":
            left = min(left, float(text) - float(used.read_text()))
        if folder == mounted:
            break
    return max(0.0, left)


def use_cores(local_world_size: int) -> None:
    """Share this machine's cores between its processes, unless the user has said how many threads to use."""
    chosen = os.environ.get("OMP_NUM_THREADS")
    if chosen is None or (chosen == "1" and "TORCHELASTIC_RUN_ID" in os.environ):  # torchrun's habit, nobody's choice
        share = (os.cpu_count() or 1) // local_world_size
        torch.set_num_threads(max(1, min(len(os.sched_getaffinity(0)), share)))
