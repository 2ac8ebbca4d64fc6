"""What a disk refuses (it is full, read-only, gone) as one sentence with the remedy, wherever a run writes."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from uer_ds.errors import UserError

ROOM = "make room and run the same command again"
RIGHTS = "let this user write there and run the same command again"
BROKEN = "look at the disk and its connection, then run the same command again"

REMEDIES = {
    errno.ENOSPC: ROOM,
    errno.EDQUOT: ROOM,
    errno.EFBIG: "raise the limit on the size of files (ulimit -f) and run the same command again",
    errno.EROFS: RIGHTS,
    errno.EACCES: RIGHTS,
    errno.EPERM: RIGHTS,
    errno.EIO: BROKEN,
    errno.ESTALE: BROKEN,
    errno.ENODEV: BROKEN,
}
"""Errors of disks; what else is an `OSError` (a connection, a missing file of ours) is not the user's."""


@contextmanager
def disk_errors() -> Iterator[None]:
    """Errors of disks inside the `with` block become a `UserError`.

    TensorBoard's writing thread keeps its own and raises it at the next report; its traceback would only come before.
    """
    hook = threading.excepthook
    threading.excepthook = lambda args: None if _of_disk(args.exc_value) else hook(args)
    try:
        yield
    except OSError as error:
        if error.errno is None or error.errno not in REMEDIES:
            raise
        name = error.filename or "a file of this run"
        raise UserError(f"{name}: cannot be written ({error.strerror}); {REMEDIES[error.errno]}.") from error
    finally:
        threading.excepthook = hook


def _of_disk(error: BaseException | None) -> bool:
    return isinstance(error, OSError) and error.errno in REMEDIES


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Errors inside the `with` block name `path`: the system names a file when it is opened, but not when written."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def remedy_in(words: str) -> str:
    """The remedy for an error that has become words, as another rank tells it."""
    return next((remedy for code, remedy in REMEDIES.items() if os.strerror(code) in words), BROKEN)
