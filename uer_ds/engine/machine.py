"""The machine under a process: its device, the memory left, the versions of what computes on it."""

from __future__ import annotations

import platform

import deepspeed
import psutil
import torch
from deepspeed.accelerator import get_accelerator

import uer_ds
from uer_ds.engine.job_limits import memory_left


def device() -> torch.device:
    """The device of this process."""
    accelerator = get_accelerator()
    if accelerator.device_name() == "cpu":
        return torch.device("cpu")
    return torch.device(accelerator.current_device_name())


def accelerators() -> tuple[str, int]:
    """Kind of the accelerators that this process sees and how many there are; ("cpu", 0) where the CPU computes."""
    accelerator = get_accelerator()
    name = accelerator.device_name()
    return ("cpu", 0) if name == "cpu" else (name, int(accelerator.device_count()))


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
    return min(psutil.virtual_memory().available, memory_left()) / local_world_size
