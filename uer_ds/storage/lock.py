"""`FolderLock`: one writer at a time in a folder, be it a build of a dataset or a training run.

The system drops the lock with its process, so that a crash leaves no dead lock. The file holds the process number and
the host, which also tells whom to send a signal.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from pathlib import Path
from typing import Any

from uer_ds.errors import UserError

LOCK_NAME = ".lock"


class FolderLock:
    """Held inside `with`; the file goes away with the lock.

    A `shared` lock keeps only those away that want the folder for themselves. Raises UserError, naming the `option`
    that chose the folder, when another process holds it or it cannot be written.
    """

    def __init__(self, folder: Path, option: str, shared: bool = False):
        self.path, self.option, self.shared = folder / LOCK_NAME, option, shared

    def __enter__(self) -> FolderLock:
        while True:
            self._file = self._open()
            try:
                fcntl.flock(self._file, (fcntl.LOCK_SH if self.shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            except BlockingIOError:
                self._file.seek(0)
                owner = self._file.read().strip() or "unknown"
                self._file.close()
                raise UserError(
                    f"{self.option} {self.path.parent} is being written by another run (process {owner}); "
                    "wait for it, stop it, or choose another folder."
                ) from None
            except OSError as error:
                self._file.close()
                raise UserError(
                    f"{self.option} {self.path.parent} is on a file system without locks ({error.strerror}); "
                    "choose a folder on another one, or mount it with flock."
                ) from error
            if self._still_there():
                break
            self._file.close()  # its owner removed it between our open and our lock
        try:
            self._file.truncate(0)
            self._file.write(f"{os.getpid()} {socket.gethostname()}\n")
            self._file.flush()
        except OSError as error:
            raise self._not_writable(error) from error
        return self

    def __exit__(self, *error: Any) -> None:
        with contextlib.suppress(BlockingIOError):  # others share it; the last one removes the file
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.path.unlink(missing_ok=True)
        self._file.close()

    def _open(self) -> Any:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            return self.path.open("a+")
        except OSError as error:
            raise self._not_writable(error) from error

    def _not_writable(self, error: OSError) -> UserError:
        folder = self.path.parent
        return UserError(f"{self.option} {folder} cannot be written ({error.strerror}); choose a folder that can.")

    def _still_there(self) -> bool:
        try:
            return os.path.samestat(os.stat(self.path), os.fstat(self._file.fileno()))
        except FileNotFoundError:
            return False
