"""Where DeepSpeed's C++ parts are compiled, and why that cannot hang.

torch guards a compilation by a file that the compiling process removes when it is done. Killed in between, it leaves
the file behind, and every later run on the machine waits for ever without a word. Here the folder is this program's
own (one for each machine and installation), and every process that uses it holds a kernel lock, which dies with the
process: who finds nobody else alive may clear what the dead have left.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import socket
import sys
import time
from pathlib import Path
from typing import IO

TORCH_LOCK = "lock"
"""The name of torch's guard file in the folder of each compiled part."""

LONGEST_COMPILATION_SECONDS = 1800.0

_held: list[IO[str]] = []  # the kernel lock lives as long as the process


def use_ops_cache() -> Path | None:
    """Choose the folder and clear it of dead processes' guards; None when the user has chosen TORCH_EXTENSIONS_DIR."""
    if "TORCH_EXTENSIONS_DIR" in os.environ:
        return None
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["TORCH_EXTENSIONS_DIR"] = str(folder)
    _held.append(enter(folder))
    return folder


def cache_folder() -> Path:
    """The folder of this machine and this installation: two of them must not rebuild each other's files."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    installation = hashlib.sha256(sys.prefix.encode()).hexdigest()[:12]
    return Path(base) / "uer_ds" / "ops" / f"{socket.gethostname()}-{installation}"


def enter(folder: Path) -> IO[str]:
    """Take the folder's kernel lock together with others; the returned file holds it. Clears guards when alone."""
    file = (folder / "users").open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        alone = True
    except OSError:
        alone = False
    oldest = float("inf") if alone else time.time() - LONGEST_COMPILATION_SECONDS
    for guard in folder.glob(f"*/{TORCH_LOCK}"):
        if guard.stat().st_mtime < oldest:
            guard.unlink(missing_ok=True)
    fcntl.flock(file, fcntl.LOCK_SH)
    return file
