"""Whether a run would go on from what lies in its output folder, or be refused: without building its engine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from uer_ds.config.batches import settle_batches
from uer_ds.config.run import RunConfig
from uer_ds.data.dataset import open_dataset
from uer_ds.doctor.findings import Finding, ok, warning
from uer_ds.engine.group import Group
from uer_ds.storage.lock import LOCK_NAME, FolderLock
from uer_ds.train import resuming
from uer_ds.train.checkpoint import newest_sound, superseded


def would_resume(run: RunConfig, group: Group, output: Path) -> Iterator[Finding]:
    """Findings on rank 0. Collective; raises the UserError that a run would end with, on all ranks.

    Cost: the newest checkpoint is read once, as a run would read it.
    """
    group.on_first(lambda: _is_free(output))
    first, processes = group.place.is_first, group.place.world_size
    if run.train.no_resume:
        removed = group.on_first(lambda: superseded(output, run.train.force))
        settle_batches(run, processes, None)
        if first:
            yield ok("resume", f"a run would begin anew and remove {len(removed)} checkpoints")
        return
    damaged: list[str] = []
    found = newest_sound(output, group, damaged.append)
    for words in damaged:
        yield warning(
            "resume", words, "a run goes on from the one before; copy the damaged one from elsewhere, or remove it"
        )
    settled, changes = settle_batches(run, processes, found[1].layout if found else None)
    if found is None:
        if first:
            yield ok("resume", f"{output} holds no checkpoint: a run would begin anew")
        return
    path, state = found
    resuming.check_same_run(path, state, resuming.identity(run, [open_dataset(name) for name in run.data.dataset_path]))
    resuming.check_division(path, state.layout, resuming.layout(settled, processes))
    if first:
        also = "".join(f"; {' '.join(change.split())}" for change in changes)
        yield ok("resume", f"a run would go on from {path} ({state.updates} updates, all its files as written){also}")


def _is_free(output: Path) -> None:
    """Raises UserError when another run holds the folder; a dead one's lock goes away."""
    if (output / LOCK_NAME).exists():
        with FolderLock(output, "--output_model_path"):
            pass
