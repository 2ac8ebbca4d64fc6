"""Start a command in several processes of one group, and read what they print. Used by the other benchmarks."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from uer_ds.launch.address import free_port
from uer_ds.launch.place import LOOPBACK

ROOT = Path(__file__).resolve().parents[1]


def run_ranks(words: Sequence[str], ranks: int, variables: Mapping[str, str]) -> list[list[str]]:
    """The lines that each process has printed. Ends this program when one of them fails."""
    common = {
        **os.environ,
        "DS_ACCELERATOR": "cpu",
        "MASTER_ADDR": LOOPBACK,
        "MASTER_PORT": str(free_port()),
        **variables,
    }
    common |= {"WORLD_SIZE": str(ranks), "LOCAL_WORLD_SIZE": str(ranks)}
    environs = [{**common, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(ranks)]
    with ExitStack() as stack:  # files, since a rank whose pipe is full would keep all the others waiting
        files = [stack.enter_context(tempfile.TemporaryFile("w+")) for _ in environs]
        started = [subprocess.Popen(words, env=e, stdout=f) for e, f in zip(environs, files, strict=True)]
        for process in started:
            process.wait()
        lines = [(file.seek(0), file.read())[1].splitlines() for file in files]
    if any(process.returncode for process in started):
        ends = ", ".join(f"rank {rank}: {process.returncode}" for rank, process in enumerate(started))
        raise SystemExit(f"failed ({ends}): {' '.join(words)}")
    return lines
