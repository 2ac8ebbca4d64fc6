"""Outputs that are whole or absent: written beside their place under a temporary name, synced, then renamed.

An existing output, its side files (`beside`) included, is touched only with `force`, and only when the new one is
complete.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from uer_ds.convert.beside import side_files
from uer_ds.errors import UserError
from uer_ds.storage.files import remove, sync_tree


def refuse_existing(output: Path, force: bool, is_file: bool) -> None:
    """Raise `UserError` when `output` (with `is_file` also a side file of it) exists and must not be replaced."""
    if is_file and output.is_dir():
        raise UserError(f"{output}: is a folder, but a file is to be written; choose another name.")
    found = [path for path in (output, *(side_files(output) if is_file else ())) if path.exists()]
    if found and not force:
        raise UserError(f"{found[0]}: exists already; choose another name or replace it with --force.")


@contextmanager
def staged(output: Path) -> Iterator[Path]:
    """A temporary folder on the same disk as `output`, removed at the end; disk errors become one sentence."""
    new_folders = [folder for folder in output.parents if not folder.exists()]
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=output.parent))
    except OSError as error:
        raise UserError(f"{output}: cannot be written ({error.strerror}).") from None
    try:
        yield temporary
    except OSError as error:
        reading = error.filename is not None and temporary not in Path(error.filename).parents
        place, done = (error.filename, "read") if reading else (output, "written")
        raise UserError(f"{place}: cannot be {done} ({error.strerror}); nothing was left behind.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        for folder in new_folders:
            if not any(folder.iterdir()):
                folder.rmdir()


def publish_folder(temporary: Path, output: Path) -> None:
    """Make the staged folder the output, replacing what is there."""
    sync_tree(temporary)
    os.chmod(temporary, 0o755)
    if output.exists():
        old = output.with_name(f".{output.name}.replaced-{os.getpid()}")
        os.replace(output, old)
        os.replace(temporary, output)
        remove(old)
    else:
        os.replace(temporary, output)
    temporary.mkdir()  # `staged` removes it


def publish_files(temporary: Path, output: Path) -> None:
    """Move the staged files to the folder of `output`, in place of an older output and all its side files.

    The old weights go first and the new ones come last: what is there is never old weights with a new configuration.
    """
    sync_tree(temporary)
    try:
        for old in (output, *side_files(output)):
            old.unlink(missing_ok=True)
        for file in sorted(temporary.iterdir(), key=lambda file: file.name == output.name):
            os.replace(file, output.parent / file.name)
    except OSError as error:
        raise UserError(
            f"{output}: cannot be written ({error.strerror}); files called {output.stem}_* may be new."
        ) from error
