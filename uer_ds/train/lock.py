"""One run per output folder: a lock that the kernel drops when its holder dies."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from uer_ds.errors import UserError


class FolderLock:
    """Holds `.lock` in `folder` until `release`; raises `UserError` when another live process holds it."""

    def __init__(self, folder: Path):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = (folder / ".lock").open("a+")
        except OSError as error:
            raise UserError(
                f"--output_model_path {folder}: cannot be written ({error.strerror}); choose a folder that can."
            ) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.seek(0)
            holder = self._file.read().strip() or "unknown"
            self._file.close()
            raise UserError(
                f"--output_model_path {folder}: another run (process {holder}) writes there; "
                "wait for it, stop it, or choose another folder."
            ) from error
        self._file.truncate(0)
        self._file.write(str(os.getpid()))
        self._file.flush()

    def release(self) -> None:
        """Let others in."""
        self._file.close()
