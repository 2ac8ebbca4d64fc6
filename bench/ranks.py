"""Start a command in several processes of one group, and read what they print. Used by the other benchmarks."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Mapping, Sequence


def run_ranks(words: Sequence[str], ranks: int, variables: Mapping[str, str]) -> list[list[str]]:
    """The lines that each process has printed. Ends this program when one of them fails."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {**os.environ, "DS_ACCELERATOR": "cpu", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), **variables}
    common |= {"WORLD_SIZE": str(ranks), "LOCAL_WORLD_SIZE": str(ranks)}
    environs = [{**common, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(ranks)]
    started = [subprocess.Popen(words, env=environ, stdout=subprocess.PIPE, text=True) for environ in environs]
    lines = [process.communicate()[0].splitlines() for process in started]
    if any(process.returncode for process in started):
        ends = ", ".join(f"rank {rank}: {process.returncode}" for rank, process in enumerate(started))
        raise SystemExit(f"failed ({ends}): {' '.join(words)}")
    return lines
