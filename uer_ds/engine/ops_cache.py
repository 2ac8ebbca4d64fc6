"""Where DeepSpeed's C++ parts are compiled, and why that cannot hang.

torch guards a part by a file that the process removes when the part is there. Killed in between, also where nothing is
compiled any more, it leaves the file behind, and every later run on the machine waits for ever without a word. Here the
folder is this program's own (one for each machine and installation), and the guard is a kernel lock, which dies with
its process.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import socket
import sys
from pathlib import Path
from typing import IO, Any

LOCK_SUFFIX = ".kernel"
"""Of the locked file's name: torch's own guards, of whatever process, mean nothing here."""

CPU_PART = "deepspeed_shm_comm"


class KernelBaton:
    """Takes the place of torch's `FileBaton`: whoever wants a part waits for its turn, and makes sure that it is whole.

    Cost: where torch lets the other ranks wait and load, each looks for itself whether there is something to compile;
    0.1 seconds a rank.
    """

    def __init__(self, lock_file_path: str, *_: Any, **__: Any):
        self._path = lock_file_path + LOCK_SUFFIX
        self._file: IO[str] | None = None

    def try_acquire(self) -> bool:
        """True, when it is our turn."""
        self._file = open(self._path, "a+")
        fcntl.flock(self._file, fcntl.LOCK_EX)
        return True

    def wait(self) -> None:
        """Never needed: `try_acquire` has waited."""

    def release(self) -> None:
        """The next one's turn."""
        if self._file is not None:
            self._file.close()


def use_ops_cache() -> Path | None:
    """Choose the folder and the guard; None when the user has chosen TORCH_EXTENSIONS_DIR."""
    folder = cache_folder()
    if os.environ.setdefault("TORCH_EXTENSIONS_DIR", str(folder)) != str(folder):
        return None
    from torch.utils import cpp_extension

    folder.mkdir(parents=True, exist_ok=True)
    cpp_extension.FileBaton = KernelBaton  # type: ignore[misc,assignment]
    return folder


def must_compile(folder: Path) -> bool:
    """Whether the part that processes on CPUs need is still to be compiled."""
    return not (folder / CPU_PART / f"{CPU_PART}.so").is_file()


def cache_folder() -> Path:
    """The folder of this machine and this installation: two of them must not rebuild each other's files."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    installation = hashlib.sha256(sys.prefix.encode()).hexdigest()[:12]
    return Path(base) / "uer_ds" / "ops" / f"{socket.gethostname()}-{installation}"
