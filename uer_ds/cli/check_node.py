"""Say whether this machine can take part in a run: Python, packages, devices, the shared folder. Status 0 or 2.

Job scripts run it once on every node before they start the ranks; `uer-ds doctor` looks more closely.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
from pathlib import Path

from uer_ds.errors import UserError
from uer_ds.launch.address import host_name


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What is expected of the node."""
    parser.add_argument("--devices", type=int, default=0, metavar="N", help="accelerators it must have (default: 0)")
    parser.add_argument(
        "--shared_file", metavar="PATH", help="a file that another node has written; its folder must be writable here"
    )


def run(args: argparse.Namespace) -> int:
    """Look, and print one line."""
    node = host_name(os.environ)
    free = check_shared(node, Path(args.shared_file)) if args.shared_file else ""
    try:
        from uer_ds.engine.machine import accelerators, versions
    except ImportError as error:
        raise UserError(
            f"node {node}: Python {platform.python_version()} cannot import what training needs ({error}); install "
            "uer_ds there, or name a Python that all nodes share."
        ) from error
    kind, count = accelerators()
    if args.devices and (kind == "cpu" or count < args.devices):
        found = "none" if kind == "cpu" else f"{count} of kind {kind}"
        raise UserError(
            f"node {node}: expected {args.devices} accelerators, found {found}; look at nvidia-smi there, ask for "
            "fewer (--gpus_per_node), or leave this node out (sbatch --exclude)."
        )
    words = ", ".join(f"{name} {number}" for name, number in versions().items())
    print(f"node {node}: fit ({words}; {count if kind != 'cpu' else 'no'} accelerators{free})", flush=True)
    return 0


def check_shared(node: str, file: Path) -> str:
    """Whether the folder of `file` is the same here and can be written; returns its free space in words."""
    if not file.is_file():
        raise UserError(
            f"node {node}: {file} is not there, which the first node has written; put the output and log folders on "
            "a file system that all nodes share."
        )
    mine = file.parent / f".{node}-{os.getpid()}"
    try:
        mine.write_text(node)
        mine.unlink()
    except OSError as error:
        raise UserError(f"node {node}: {file.parent} cannot be written ({error.strerror}); see its rights.") from error
    return f"; {shutil.disk_usage(file.parent).free / 1e9:.0f} GB free"
