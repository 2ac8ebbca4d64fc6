"""`--world_size N --gpu_ranks ...` without a launcher: start the `deepspeed` launcher for this node's processes.

The command that runs is an ordinary `deepspeed` command over `python -m uer_ds`; it replaces this process.
"""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import Sequence

from uer_ds.errors import UserError
from uer_ds.launch.place import LOOPBACK


def launch_command(world_size: int, gpu_ranks: Sequence[int], master_ip: str, command: Sequence[str]) -> list[str]:
    """The launcher's command line for the processes `gpu_ranks` (global numbers) of this node.

    Args:
        world_size: processes over all nodes.
        gpu_ranks: this node's processes; all of them when empty. Every node has as many, in blocks: 0..7, 8..15, ...
        master_ip: "tcp://host:port" of the first node, as UER-py writes it.
        command: arguments of `uer-ds`, beginning with the command's name.
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
    nodes = world_size // len(ranks)
    devices = {f"node{i}": list(range(len(ranks))) for i in range(nodes)}
    world = base64.urlsafe_b64encode(json.dumps(devices).encode()).decode()
    launcher = [sys.executable, "-u", "-m", "deepspeed.launcher.launch", f"--world_info={world}"]
    launcher += [f"--node_rank={ranks[0] // len(ranks)}", f"--master_addr={address}", f"--master_port={port}"]
    return [*launcher, "--log_level=critical", "--no_local_rank", "--module", "uer_ds", *command]


def parse_master(master_ip: str) -> tuple[str, int]:
    """Address and port of UER-py's `--master_ip`, for example "tcp://10.0.0.1:12345"."""
    address, colon, port = master_ip.removeprefix("tcp://").rpartition(":")
    if not colon or not port.isdigit() or not 0 < int(port) < 65536:
        raise UserError(f"--master_ip is {master_ip!r}; expected tcp://ADDRESS:PORT, for example tcp://10.0.0.1:12345.")
    return (LOOPBACK if address == "localhost" else address), int(port)


def become(command: Sequence[str], python_path: str) -> None:
    """Replace this process by `command`; `python_path` is put first on PYTHONPATH so that a clone finds itself."""
    environ = dict(os.environ)
    environ["PYTHONPATH"] = os.pathsep.join(p for p in (python_path, environ.get("PYTHONPATH", "")) if p)
    os.execvpe(command[0], list(command), environ)
