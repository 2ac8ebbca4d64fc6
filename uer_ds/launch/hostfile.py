"""A hostfile as `deepspeed --hostfile` reads it, and the question whether its nodes answer by ssh."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from uer_ds.errors import UserError

SSH = ("ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-o", "PasswordAuthentication=no")


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
