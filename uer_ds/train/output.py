"""The output folder of a run, which no other run may write at the same time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from uer_ds.engine.group import Group
from uer_ds.storage.lock import FolderLock


@contextmanager
def output_folder(path: str, group: Group, shared: bool = False) -> Iterator[Path]:
    """The folder, made where it is missing, locked by rank 0 (`shared`: see `FolderLock`).

    Raises UserError on every rank when it cannot be had.
    """
    with ExitStack() as held:

        def hold() -> None:
            held.enter_context(FolderLock(Path(path), "--output_model_path", shared))

        group.on_first(hold)
        yield Path(path)
