"""`FolderLock`: one build at a time in a folder.

The system drops the lock with its process, so that a crash leaves no dead lock.
"""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path
from typing import Any

from uer_ds.errors import UserError

LOCK_NAME = "build.lock"


class FolderLock:
    """Held inside `with`; raises `UserError` when another process holds it. The file goes away with the lock."""

    def __init__(self, folder: Path):
        self.path = folder / LOCK_NAME

    def __enter__(self) -> FolderLock:
        while True:
            self._file = open(self.path, "a+")
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._file.seek(0)
                owner = self._file.read().strip() or "unknown"
                self._file.close()
                raise UserError(
                    f"{self.path.parent} is being written by another run ({owner}); wait for it or choose another"
                    " --dataset_path."
                ) from None
            if self._still_there():
                break
            self._file.close()  # its owner removed it between our open and our lock
        self._file.truncate(0)
        self._file.write(f"process {os.getpid()} on {socket.gethostname()}")
        self._file.flush()
        return self

    def __exit__(self, *error: Any) -> None:
        self.path.unlink(missing_ok=True)
        self._file.close()

    def _still_there(self) -> bool:
        try:
            return os.path.samestat(os.stat(self.path), os.fstat(self._file.fileno()))
        except FileNotFoundError:
            return False
