"""DeepSpeed's CPU all-reduce talks through 69 MB of shared memory a rank, under a name that nothing ever removes.

A machine would lose that memory with every run, killed or not, until it is started anew. A name is only needed until
all ranks have opened the buffer; without it, the memory goes back when the last process ends, however it ends.
(Format of the name: `shm_initialize` in deepspeed/ops/csrc/cpu/comm/shm.cpp, DeepSpeed 0.19.)
"""

from __future__ import annotations

import os
from pathlib import Path

FOLDER = Path("/dev/shm")


def buffer_path(rank: int, address: str, port: int) -> Path:
    """Where the buffer of `rank` is, for the run whose rank 0 listens at `address`:`port`."""
    return FOLDER / f"deepspeed_allreduce_buffer_{os.getuid()}_{address}_{port}_{rank}"


def forget_buffer(rank: int, address: str, port: int) -> None:
    """Remove the name of this rank's buffer. To be called when all ranks have joined the group."""
    buffer_path(rank, address, port).unlink(missing_ok=True)
