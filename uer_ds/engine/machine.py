"""The machine under a process: its device, its share of the cores, the versions of what computes on it."""

from __future__ import annotations

import os
import platform

import deepspeed
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


def use_cores(local_world_size: int) -> None:
    """Share this machine's cores between its processes, unless the user has said how many threads to use."""
    chosen = os.environ.get("OMP_NUM_THREADS")
    if chosen is None or (chosen == "1" and "TORCHELASTIC_RUN_ID" in os.environ):  # torchrun's habit, nobody's choice
        share = (os.cpu_count() or 1) // local_world_size
        torch.set_num_threads(max(1, min(len(os.sched_getaffinity(0)), share)))
