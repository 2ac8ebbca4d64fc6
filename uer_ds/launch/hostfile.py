"""A hostfile as `deepspeed --hostfile` reads it, and what must be there before it starts: its program, the nodes."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from uer_ds.errors import UserError

SSH = ("ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-o", "PasswordAuthentication=no")

LAUNCHERS = {
    "pdsh": ("pdsh", "apt-get install pdsh"),
    "openmpi": ("ompi_info", "install Open MPI"),
    "mpich": ("mpirun", "install MPICH"),
    "impi": ("mpirun", "install Intel MPI"),
    "mvapich": ("mpiname", "install MVAPICH"),
    "slurm": ("sinfo", "go to a machine with SLURM"),
}
"""What `deepspeed --launcher` knows (0.19.8) -> the program that it looks for, and how to get it."""


def check_launcher(name: str) -> None:
    """Raise UserError when the program is missing here by which deepspeed's launcher reaches several hosts."""
    program, remedy = LAUNCHERS[name]
    if shutil.which(program) is None:
        others = [other for other, (needed, _) in LAUNCHERS.items() if shutil.which(needed)]
        instead = f"--launcher {' or '.join(others)}" if others else "start each host by hand (launch/hostfile.example)"
        raise UserError(
            f"--launcher {name}: deepspeed reaches several hosts by {program}, which is not on PATH; {remedy}, or "
            f"{instead}."
        )


def read_hostfile(path: Path) -> dict[str, int]:
    """Host -> processes. Lines are "HOST slots=N"; empty lines and comments (#) are skipped."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UserError(f"--hostfile: {path} cannot be read ({error.strerror}).") from error
    hosts: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].strip()
        match = re.fullmatch(r"(\S+)\s+slots=(\d+)", words)
        if words and (match is None or int(match[2]) < 1):
            raise UserError(f"{path}, line {number}: found {words!r}; expected HOST slots=N, like node1 slots=8.")
        if match and match[1] in hosts:
            raise UserError(f"{path}, line {number}: {match[1]} is there twice; give its slots in one line.")
        if match:
            hosts[match[1]] = int(match[2])
    if not hosts:
        raise UserError(f"{path}: names no host; expected lines such as node1 slots=8.")
    return hosts


def check_hosts(hosts: Sequence[str], command: str, ssh: Sequence[str] = SSH, timeout: float = 120.0) -> dict[str, str]:
    """Run `command` on every host at once; returns host -> what is wrong there (empty when all answer well)."""

    def ask(host: str) -> str:
        try:
            done = subprocess.run([*ssh, host, command], capture_output=True, text=True, timeout=timeout)
        except FileNotFoundError:
            return f"{ssh[0]} is not installed here"
        except subprocess.TimeoutExpired:
            return f"no answer within {timeout:g} seconds"
        said = (done.stderr.strip().splitlines() or done.stdout.strip().splitlines() or ["no message"])[-1]
        return "" if done.returncode == 0 else f"{said.removeprefix('uer-ds: ')} (status {done.returncode})"

    with ThreadPoolExecutor(min(64, len(hosts))) as pool:
        return {host: wrong for host, wrong in zip(hosts, pool.map(ask, hosts), strict=True) if wrong}
