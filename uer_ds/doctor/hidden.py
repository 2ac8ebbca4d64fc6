"""Hidden folders that a visit makes in a run's output folder, and takes away again.

A killed doctor leaves its own behind; every folder has a new name, and the old ones are removed by later visits.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
import time
from pathlib import Path

from uer_ds.errors import UserError

HIDDEN_PREFIX = ".doctor-"
"""Of everything that a visit makes in the output folder."""

STALE_SECONDS = 3600
"""A hidden folder that was not touched for so long belongs to no visit any more."""


def make_hidden(output: Path) -> tuple[Path, Path]:
    """Make a new hidden folder in `output`; returns it and the topmost folder that was not there before.

    What a killed doctor has left there is removed. Raises UserError where no folder can be made.
    """
    for left_over in output.glob(f"{HIDDEN_PREFIX}*"):
        with contextlib.suppress(OSError):
            if left_over.stat().st_mtime < time.time() - STALE_SECONDS:
                shutil.rmtree(left_over) if left_over.is_dir() else left_over.unlink()
    folder = output / f"{HIDDEN_PREFIX}{secrets.token_hex(8)}"
    new = next(path for path in reversed((folder, *folder.parents)) if not path.exists())
    try:
        folder.mkdir(parents=True)
    except OSError as mistake:
        raise UserError(f"{folder} cannot be made ({mistake.strerror}); choose another --output_model_path.") from None
    return folder, new


def remove_hidden(folder: Path, new: Path) -> None:
    """Undo `make_hidden`, but for what somebody else has put there by now."""
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):
        for parent in folder.parents:
            if not parent.is_relative_to(new):
                break
            parent.rmdir()
