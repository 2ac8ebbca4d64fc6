"""Files that are whole or absent, and JSON. Imports no torch.

A file is written beside its place as `.NAME.XXXXXXXX.tmp`, synced and then renamed, so a kill or a full disk leaves the
old one. The temporary name is no other process's, on any machine, so that several may write the same file. What a
killed process has left goes away when the file is written again, a day later or more.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from uer_ds.errors import UserError

LEFT_FOR_SECONDS = 24 * 3600.0
"""A temporary file that nobody has written to for so long belongs to nobody."""


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A name to write a file under, which takes the place of `path` at the end of the `with` block; missing folders are
    made. After an error nothing is left of it; errors of the disk name `path`."""
    path = Path(path)
    temporary = temporary_name(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path)
        yield temporary
        put_in_place(temporary, path)
    except OSError as error:
        if error.errno and str(error.filename) in ("None", str(temporary)):
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _remove_leftovers(path: Path) -> None:
    for left in path.parent.glob(f".{glob.escape(path.name)}.????????.tmp"):
        with contextlib.suppress(FileNotFoundError):  # another process removes it, too
            if time.time() - left.stat().st_mtime > LEFT_FOR_SECONDS:
                left.unlink()


def temporary_name(path: Path) -> Path:
    """Where to write what is to become `path`."""
    return path.with_name(f".{path.name}.{os.urandom(4).hex()}.tmp")


def put_in_place(temporary: Path, path: Path) -> None:
    """Give a closed file its name, once it is on the disk."""
    sync(temporary)
    os.replace(temporary, path)


def write_file(path: str | Path, content: str | bytes) -> None:
    """Write bytes, or text as UTF-8, all or nothing."""
    with replacing(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def write_json(path: str | Path, value: Any) -> None:
    """Write JSON for people and programs, all or nothing."""
    write_file(path, json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def read_json_object(path: str | Path, what: str = "a JSON file") -> dict[str, Any]:
    """The JSON object in the file `path`; `UserError` names file and place of a mistake, and `what` was expected."""
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing; expected {what}.") from None
    except json.JSONDecodeError as error:
        raise UserError(
            f"{path} is no JSON ({error.msg} at line {error.lineno}, column {error.colno}); expected {what}."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as UTF-8 JSON: {error}.") from None
    if not isinstance(value, dict):
        raise UserError(f"{path} holds a {type(value).__name__}; expected {what}, an object with named keys.")
    return value


def remove(path: Path) -> None:
    """Delete a file or a folder, if there is one."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """fsync a file or a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """fsync a folder and everything in it."""
    for path in [*folder.rglob("*"), folder]:
        sync(path)
