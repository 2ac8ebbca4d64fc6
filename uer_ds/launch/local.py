"""`--world_size N --gpu_ranks ...` without a launcher: this node's processes, started and looked after from here.

Signals that mean "save and stop" are passed on and waited for as long as the save takes; when one process ends badly
the others get time to say why they stop; the exit status is the one that says what to do next (see `joint_status`).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from uer_ds.errors import INTERRUPTED, USER_MISTAKE, UserError
from uer_ds.launch.place import LOOPBACK, Place
from uer_ds.launch.watch import PEER_LOST

PATIENCE_SECONDS = 30.0
"""After the first bad end: time for the others to notice, speak and end by themselves, before they are terminated."""


@dataclass(frozen=True)
class Share:
    """The processes of a run that belong to this node: global numbers `ranks`; rank 0 listens at `address`:`port`."""

    ranks: tuple[int, ...]
    world_size: int
    address: str
    port: int

    def variables(self, rank: int) -> dict[str, str]:
        """What tells a process that it is `rank`."""
        return {
            "RANK": str(rank),
            "WORLD_SIZE": str(self.world_size),
            "LOCAL_RANK": str(rank - self.ranks[0]),
            "LOCAL_WORLD_SIZE": str(len(self.ranks)),
            "MASTER_ADDR": self.address,
            "MASTER_PORT": str(self.port),
        }


def named_share(world_size: int, gpu_ranks: Sequence[int], master_ip: str) -> Share:
    """The share that the page's options name; all processes when `gpu_ranks` is empty.

    Args:
        world_size: processes over all nodes.
        gpu_ranks: this node's processes. Every node has as many, in blocks: 0..7, 8..15, ...
        master_ip: "tcp://host:port" of the first node, as UER-py writes it.
    Raises UserError when the ranks do not form such a block.
    """
    ranks = list(gpu_ranks) or list(range(world_size))
    address, port = parse_master(master_ip)
    if ranks != list(range(ranks[0], ranks[0] + len(ranks))) or world_size % len(ranks) or ranks[0] % len(ranks):
        raise UserError(
            f"--gpu_ranks {' '.join(map(str, ranks))} with --world_size {world_size}: expected this node's consecutive "
            "numbers, the same count on every node, for example 0 1 2 3 on the first and 4 5 6 7 on the second."
        )
    if ranks[-1] >= world_size:
        raise UserError(f"--gpu_ranks names rank {ranks[-1]}, but --world_size is {world_size}; ranks count from 0.")
    return Share(tuple(ranks), world_size, address, port)


def task_share(world_size: int, task: Place) -> Share:
    """The share of one task of `srun` or `mpirun` that was started once per node."""
    if world_size % task.world_size:
        raise UserError(
            f"--world_size {world_size} cannot be shared by {task.world_size} tasks of {task.launcher}; "
            f"expected a multiple, for example {task.world_size * max(1, world_size // task.world_size)}."
        )
    if not task.address:
        raise UserError(
            f"{task.launcher} started one task a node, and none knows the address of the first; set MASTER_ADDR and "
            "MASTER_PORT, or start one task for every process (without --world_size)."
        )
    here = world_size // task.world_size
    return Share(tuple(range(task.rank * here, (task.rank + 1) * here)), world_size, task.address, task.port)


def parse_master(master_ip: str) -> tuple[str, int]:
    """Address and port of UER-py's `--master_ip`, for example "tcp://10.0.0.1:12345"."""
    address, colon, port = master_ip.removeprefix("tcp://").rpartition(":")
    if not colon or not port.isdigit() or not 0 < int(port) < 65536:
        raise UserError(f"--master_ip is {master_ip!r}; expected tcp://ADDRESS:PORT, for example tcp://10.0.0.1:12345.")
    return (LOOPBACK if address == "localhost" else address), int(port)


def share_here(place: Place, world_size: int, gpu_ranks: Sequence[int], master_ip: str) -> Share | None:
    """The processes that this one has to start: those the options name, or those of one task per node; None: none."""
    if world_size < 1:
        raise UserError(f"--world_size is {world_size}; expected 1 or more.")
    if world_size <= place.world_size or place.launcher not in ("none", "srun", "mpirun"):
        return None
    return named_share(world_size, gpu_ranks, master_ip) if place.launcher == "none" else task_share(world_size, place)


def start_processes(share: Share, command: Sequence[str], logs: str | None = None) -> int:
    """Run `command` as every rank of `share`, wait for all; returns their joint exit status.

    Args:
        command: for example ["python", "-m", "uer_ds", "pretrain", ...].
        logs: folder for one file per process, `rank0.log` and so on, appended to; None: all write to our output.
    """
    wishes: list[int] = []  # a signal may come before all have been started
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, lambda number, _: wishes.append(number))
    signal.signal(signal.SIGINT, lambda *_: None)  # the terminal gives it to the processes too; SIG_IGN is inherited
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for rank in share.ranks:
            log = Path(logs) / f"rank{rank}.log" if logs else None
            processes.append(start_process(command, share.variables(rank), log))
    except BaseException:
        for process in processes:
            process.kill()
            process.wait()
        raise
    return joint_status(_wait(processes, wishes))


def start_process(command: Sequence[str], variables: Mapping[str, str], log: Path | None) -> subprocess.Popen[bytes]:
    """Start `command`, which finds this clone, with `variables` over our own; `log` is appended to."""
    clone = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(p for p in (clone, os.environ.get("PYTHONPATH", "")) if p)
    environ = {**os.environ, "PYTHONPATH": path, **variables}
    if log is None:
        return subprocess.Popen(list(command), env=environ)
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as file:
            return subprocess.Popen(list(command), env=environ, stdout=file, stderr=file)
    except OSError as error:
        raise UserError(f"{log} cannot be written ({error.strerror}); choose another folder.") from error


def _wait(processes: Sequence[subprocess.Popen[bytes]], wishes: list[int]) -> list[int]:
    """The statuses of all; passes on the signals that appear in `wishes`."""
    deadline, harder = float("inf"), False
    while any(process.poll() is None for process in processes):
        while wishes:
            number = wishes.pop(0)
            for process in processes:
                process.send_signal(number)  # nothing happens to one that has ended
        if deadline == float("inf") and any(process.returncode for process in processes):
            deadline = time.monotonic() + PATIENCE_SECONDS
        if time.monotonic() > deadline:
            for process in processes:
                if process.poll() is None:
                    process.kill() if harder else process.terminate()
            deadline, harder = time.monotonic() + PATIENCE_SECONDS, True
        time.sleep(0.2)
    return [process.returncode for process in processes]


def joint_status(statuses: Sequence[int]) -> int:
    """One status for all processes of a node, negative numbers being signals.

    A mistake goes before everything, then a failure of our own, then somebody's sudden end (`PEER_LOST`: the same
    command goes on), then what all agree on (0 done, 75 saved on request).
    """
    for status in (USER_MISTAKE, INTERRUPTED):
        if status in statuses:
            return status
    if any(status not in (0, PEER_LOST) and 0 < status < 64 for status in statuses):
        return 1
    if PEER_LOST in statuses or min(statuses) < 0:
        return PEER_LOST
    return max(statuses)


def this_program(arguments: Sequence[str]) -> list[str]:
    """`uer-ds ARGUMENTS` as a command that needs nothing on PATH."""
    return [sys.executable, "-u", "-m", "uer_ds", *arguments]
