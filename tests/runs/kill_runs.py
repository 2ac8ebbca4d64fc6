"""Not a test: kills a run of two ranks again and again, and starts it again each time.

python tests/runs/kill_runs.py PLAN.json RESULT.json
    {"undisturbed": [OPTION...], "options": [OPTION...], "output": ..., "kills": 5, "seed": 1, "updates": 60}

After the kills come two starts whose rank 1 cannot write files above a few kilobytes, one whose rank 1 gets SIGUSR1,
and one to the end. Each start forks the ranks from a process that has imported everything, which saves five seconds;
the ranks are ordinary `uer-ds pretrain` processes, and SIGKILL is SIGKILL. Of five kills two wait for a checkpoint that
is just being written, one for an update, and two come at any moment of the start: meeting, building, loading. Every
second start writes its checkpoints in the background.
"""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))


import uer_ds.train.pretrain  # noqa: F401 (what a start would import, once for all of them)
from uer_ds.cli.main import main as command
from uer_ds.launch.address import free_port
from uer_ds.storage.places import find_checkpoints, updates_of

RANKS = 2
PATIENCE = 60.0
"""Seconds that a rank gets to notice the death of the other, and a run to reach its next update."""


MOMENTS = ("start", "save", "save", "update", "start")
"""When to kill, in turn."""

LAUNCHER_SECONDS = 3.0
"""What a rank gets that waits for one killed before they met; a launcher would end it at once."""

SMALL_FILE = 20_000
"""Bytes: more than a report, less than any file of a checkpoint's engine."""


def start(options: list[str], log: Path, limited: bool = False) -> list[int]:
    """Fork the ranks of one start; returns their process numbers. `limited`: rank 1 can only write small files."""
    port = free_port()
    children = []
    for rank in range(RANKS):
        child = os.fork()
        if child == 0:
            place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": RANKS, "LOCAL_WORLD_SIZE": RANKS}
            os.environ.update({name: str(value) for name, value in place.items()})
            os.environ.update({"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"})
            for stream in (1, 2):
                os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
            if limited and rank == 1:
                resource.setrlimit(resource.RLIMIT_FSIZE, (SMALL_FILE, SMALL_FILE))
            status = 1
            try:
                status = command(["pretrain", *options])
            finally:
                sys.stdout.flush()
                os._exit(status)
        children.append(child)
    return children


def wait(child: int, seconds: float) -> int | None:
    """Exit status of a rank (negative: the signal that ended it); None when it is still there afterwards."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    return None


def last_update(output: Path) -> int:
    """The newest update that the run has reported."""
    try:
        lines = (output / "metrics.jsonl").read_text().splitlines()
        return json.loads(lines[-1])["update"]
    except (OSError, IndexError, ValueError, KeyError):
        return 0


def until(condition: Any) -> bool:
    """Wait for `condition`; False when it does not come true."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.0005)
    return False


def kill_once(
    options: list[str], output: Path, target: int, moment: str, start_seconds: float, draw: random.Random
) -> dict[str, Any]:
    """One start that is killed: in its first `start_seconds`, or in a save or elsewhere after update `target`."""
    from_update = max((updates_of(path) for path in find_checkpoints(output)), default=0)
    target = max(target, last_update(output) + 1)  # the start before may have come further than it was asked for
    children = start(options, output.with_suffix(".log"))
    began = time.monotonic()
    reached = moment == "start" or until(lambda: last_update(output) >= target)
    if moment == "save":
        reached = reached and until(lambda: any(output.glob(".checkpoint-*.partial")))
    time.sleep(draw.random() * {"start": start_seconds, "save": 0.01, "update": 0.05}[moment])
    victim, other = draw.sample(children, 2)
    os.kill(victim, signal.SIGKILL)
    partial = moment != "start" and any(output.glob(".checkpoint-*.partial"))  # before: left by the kill before
    killed_at = time.monotonic()
    statuses = [wait(victim, PATIENCE), wait(other, LAUNCHER_SECONDS if moment == "start" else PATIENCE)]
    if statuses[1] is None:
        os.kill(other, signal.SIGKILL)
        os.waitpid(other, 0)
    return {
        "moment": moment,
        "reached": reached,
        "during_save": partial,
        "resumed_from": from_update,
        "killed_rank": children.index(victim),
        "statuses": statuses,
        "seconds_to_kill": killed_at - began,
        "seconds_of_other": time.monotonic() - killed_at,
    }


def preempt(options: list[str], output: Path, target: int) -> dict[str, Any]:
    """One start whose rank 1 gets SIGUSR1 after update `target`."""
    children = start(options, output.with_suffix(".log"))
    reached = until(lambda: last_update(output) >= target)
    os.kill(children[1], signal.SIGUSR1)
    return {"reached": reached, "statuses": [wait(child, PATIENCE) for child in children]}


def fill_disk(options: list[str], output: Path) -> dict[str, Any]:
    """One start whose rank 1 cannot write its part of a checkpoint."""
    log = output.with_suffix(f".limited{len(options)}.log")
    children = start(options, log, limited=True)
    statuses = [wait(child, PATIENCE) for child in children]
    return {"statuses": statuses, "said": log.read_text(), "left": sorted(path.name for path in output.glob(".*"))}


def main(plan: dict[str, Any]) -> dict[str, Any]:
    """Train undisturbed; then kill `kills` times, fill the disk, preempt, and let the run end."""
    draw = random.Random(plan["seed"])
    output, kills, total, options = Path(plan["output"]), plan["kills"], plan["updates"], plan["options"]
    output.parent.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    children = start(plan["undisturbed"], output.with_suffix(".undisturbed.log"))
    until(lambda: last_update(output.with_name("undisturbed")))
    start_seconds = time.monotonic() - began
    undisturbed = [wait(child, 10 * PATIENCE) for child in children]
    events = []
    for number in range(kills):
        target = round(total * (number + draw.random()) / (kills + 2))
        background = ["--async_checkpoint"] if number % 2 else []
        moment = MOMENTS[number % len(MOMENTS)]
        events.append(kill_once([*options, *background], output, target, moment, start_seconds, draw))
    full = [fill_disk([*options, *background], output) for background in ([], ["--async_checkpoint"])]
    preempted = preempt(options, output, round(total * kills / (kills + 1)))
    last = [wait(child, 10 * PATIENCE) for child in start(options, output.with_suffix(".log"))]
    return {
        "undisturbed": undisturbed,
        "start_seconds": start_seconds,
        "events": events,
        "full": full,
        "preempted": preempted,
        "statuses": last,
    }


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(json.dumps(main(json.loads(Path(sys.argv[1]).read_text())), indent=1))
