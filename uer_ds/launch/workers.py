"""Processes that work on the same list of jobs, each with a device of its own: started and waited for from here.

They know nothing of each other (`launch.local` starts the ranks of one run): when one ends badly, the others go on.
"""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from uer_ds.launch.local import start_process

LOOK_SECONDS = 1.0


@dataclass(frozen=True)
class Ends:
    """How the workers ended: exit statuses in their order, and whether a signal told us to stop."""

    statuses: tuple[int, ...]
    stopped: bool


def worker_variables(number: int, workers: int, devices: int, cores: int, environ: Mapping[str, str]) -> dict[str, str]:
    """What gives worker `number` its device and its share of the cores.

    Args:
        devices: GPUs that this process sees; with fewer than workers they are shared.
        environ: of this process. Threads that the user has chosen, and a choice of GPUs, are kept.
    """
    variables = {}
    if devices:
        visible = [name for name in environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
        names = visible or [str(device) for device in range(devices)]
        variables["CUDA_VISIBLE_DEVICES"] = names[number % len(names)]
    if "OMP_NUM_THREADS" not in environ:
        variables["OMP_NUM_THREADS"] = str(max(1, cores // workers))
    return variables


def run_workers(
    command: Sequence[str], variables: Sequence[Mapping[str, str]], logs: Sequence[Path], look: Callable[[], None]
) -> Ends:
    """Run `command` once for each of `variables`, and wait for all. `look` is called every second.

    SIGTERM and SIGUSR1 are passed on; the terminal gives Ctrl-C to the workers itself. All three mean "stop".
    """
    wishes: list[int] = []
    numbers = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
    before = {number: signal.signal(number, lambda number, _: wishes.append(number)) for number in numbers}
    workers: list[subprocess.Popen[bytes]] = []
    try:
        for own, log in zip(variables, logs, strict=True):
            workers.append(start_process(command, own, log))
        passed = 0
        while any(worker.poll() is None for worker in workers):
            for number in wishes[passed:]:
                for worker in workers:
                    if number != signal.SIGINT:
                        worker.send_signal(number)  # nothing happens to one that has ended
            passed = len(wishes)
            look()
            time.sleep(LOOK_SECONDS)
    except BaseException:
        for worker in workers:
            worker.terminate()
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return Ends(tuple(worker.returncode for worker in workers), bool(wishes))


def last_line(log: Path) -> str:
    """What a worker said last."""
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line for line in reversed(lines) if line.strip()), "nothing")
