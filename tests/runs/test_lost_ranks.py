"""A rank that dies or fails: the others end within seconds, one sentence says who is missing, the same command goes on.

Bare processes without a launcher, so that nobody but the run itself ends the survivors.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.runs.conftest import ROOT, Run, metrics, pretrain_options
from uer_ds.launch.address import free_port
from uer_ds.launch.watch import PEER_LOST

DOOR = "launch/pretrain.py"
Ranks = list[subprocess.Popen[str]]


def start(words: list[str], world_size: int = 2) -> Ranks:
    """All ranks of a run, each with a pipe for what it says."""
    port, ranks = str(free_port()), []
    for rank in range(world_size):
        environ = {**os.environ, "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world_size)}
        environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-u", DOOR, *words]
        pipe = subprocess.PIPE
        ranks.append(subprocess.Popen(command, cwd=ROOT, env=environ, stdout=pipe, stderr=pipe, text=True))
    return ranks


def wait_for_updates(output: Path, updates: int, ranks: Ranks) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if (output / "metrics.jsonl").exists() and len(metrics(output)) >= updates:
            return
        assert all(rank.poll() is None for rank in ranks), [rank.communicate() for rank in ranks]
        time.sleep(0.1)
    raise AssertionError("no update within two minutes")


def endings(ranks: Ranks, seconds: float) -> list[tuple[int, str]]:
    """Status and stderr of each; fails when one is still there after `seconds`."""
    deadline = time.monotonic() + seconds
    try:
        said = [rank.communicate(timeout=max(0.1, deadline - time.monotonic()))[1] for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    return [(rank.returncode, text) for rank, text in zip(ranks, said, strict=True)]


def test_a_killed_rank_ends_the_others(material: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    words = pretrain_options(material, output, total_steps=100000, report_steps=1, ds_config="zero2")
    ranks = start(words)
    wait_for_updates(output, 2, ranks)
    ranks[0].send_signal(signal.SIGKILL)
    _, (status, said) = endings(ranks, seconds=10)
    assert status == PEER_LOST
    assert said.count("uer-ds: ") == 1
    assert "uer-ds: rank 0 on host " in said
    assert "died without a word" in said
    assert "The same command goes on from the newest checkpoint." in said
    assert "Traceback" not in said


def test_a_mistake_of_one_rank_is_said_by_the_others(material: Path, tmp_path: Path) -> None:
    """Rank 1 cannot read its dataset any more; rank 0, which speaks for the machine, hangs in a collective by then."""
    bad = tmp_path / "worker.py"
    bad.write_text(WORKER)
    port = str(free_port())
    ranks = []
    for rank in "01":
        environ = {**os.environ, "RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
        environ |= {"MASTER_PORT": port, "PYTHONPATH": str(ROOT), "DS_ACCELERATOR": "cpu"}
        command = [sys.executable, str(bad)]
        ranks.append(subprocess.Popen(command, env=environ, stdout=-1, stderr=-1, text=True))
    (first, said), (second, silent) = endings(ranks, seconds=60)
    assert (first, second) == (2, 2)
    assert said.strip() == f"uer-ds: rank 1 on host {os.uname().nodename}: shard 3 is gone."
    assert silent.strip() == ""


WORKER = """
import os
from uer_ds.cli import main
from uer_ds.engine import distributed
from uer_ds.errors import UserError
from uer_ds.launch.place import find_place

def run(arguments):
    with distributed.joined(find_place(os.environ)) as group:
        if group.place.rank == 1:
            raise UserError("shard 3 is gone.")
        group.barrier()

main.run_command = run
raise SystemExit(main.main([]))
"""


def test_processes_started_by_us_end_with_one_status(material: Path, tmp_path: Path, run: Run) -> None:
    """`--world_size 2`: a killed process makes 69, a SIGTERM to the starter makes 75, and the run goes on."""
    output = tmp_path / "run"
    words = pretrain_options(material, output, total_steps=60, report_steps=1, ds_config="zero1")
    logs = tmp_path / "logs"
    command = [sys.executable, DOOR, *words, "--world_size", "2", "--master_ip", f"tcp://localhost:{free_port()}"]
    command += ["--rank_logs", str(logs)]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    starter = subprocess.Popen(command, cwd=ROOT, env=environ, text=True)
    wait_for_updates(output, 2, [starter])
    starter.send_signal(signal.SIGTERM)
    assert starter.wait(timeout=60) == 75
    assert "stopped by SIGTERM" in (logs / "rank0.log").read_text()
    run(*command)
    assert len(metrics(output)) == 60
