"""Checkpoints as they lie on the disk: which there are, what is in them, whether they are sound, which may go.

`OUTPUT/checkpoint-N` (N updates) holds `engine/` (DeepSpeed's own files), `model.safetensors` (plain float32 weights
under UER's names), `config.json`, `tokenizer/` and `state.json`, which is written last and knows size and checksum of
every other file. `uer_ds.train.saving` writes them; cost: about 24 bytes a parameter on disk.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uer_ds.config.layout import Layout
from uer_ds.config.sharing import Sharing
from uer_ds.engine.engine import ENGINE_TAG
from uer_ds.engine.group import Group
from uer_ds.errors import UserError
from uer_ds.storage.checksums import wrong_checksum, wrong_size
from uer_ds.storage.places import STATE_FILE, find_checkpoints, updates_of

BYTES_PER_PARAMETER = 24
"""The engine's weights, float32 masters and two moments, and the plain weights, 4 bytes each; some more for ties."""
WEIGHTS_FILES = {"safetensors": "model.safetensors", "uer": "model.bin"}


@dataclass(frozen=True)
class State:
    """What a run needs besides weights and optimizer to go on, and what a reader may want to know of it.

    `layout` says how it was divided, `identity` what must be equal in the run that continues it; `meter_rows` are
    updates not yet reported; `files` gives size and CRC-32 of every other file of the checkpoint.
    """

    updates: int
    samples: int
    tokens: int
    layout: Layout
    seed: int
    identity: dict[str, Any]
    tokenizer: dict[str, Any]
    datasets: list[dict[str, Any]]
    run: dict[str, Any]
    versions: dict[str, str]
    meter_names: list[str] = dataclasses.field(default_factory=list)
    meter_rows: list[list[float]] = dataclasses.field(default_factory=list)
    files: dict[str, list[int]] = dataclasses.field(default_factory=dict)


def read_state(checkpoint: Path) -> State:
    """The `State` of a checkpoint folder; raises `UserError` when its file is damaged."""
    path = checkpoint / STATE_FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if "sharing" not in values["layout"]:
            raise UserError(
                f"{path} is of an earlier form than this version reads; go on with the version that wrote it, or give "
                f"--pretrained_model_path {checkpoint} and another --output_model_path."
            )
        sharing = Sharing(**values["layout"]["sharing"])
        return State(**{**values, "layout": Layout(**{**values["layout"], "sharing": sharing})})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path}: cannot be read ({error}); remove {checkpoint} to use the one before.") from error


def newest_sound(output: Path, group: Group, say: Callable[[str], None]) -> tuple[Path, State] | None:
    """The newest checkpoint whose files are all as they were written; None: there is no checkpoint. Collective.

    Sizes are compared first, then the ranks read the files and compare checksums, each its share. `say` gets a warning,
    on rank 0, for every newer one that is passed over. Raises UserError when none of them is sound.
    """
    found = group.on_first(lambda: find_checkpoints(output))
    fault = ""
    for path in reversed(found):
        state, fault = _checked(path, group)
        if state is not None:
            return path, state
        if group.place.is_first:
            say(f"{path} is damaged and passed over: {fault}")
    if not found:
        return None
    raise UserError(
        f"{output}: none of its {len(found)} checkpoints is sound (the oldest: {fault.rstrip('.')}); "
        "copy one from elsewhere, or start over with --no_resume --force."
    )


def _checked(checkpoint: Path, group: Group) -> tuple[State | None, str]:
    state, fault = group.broadcast(_first_look(checkpoint) if group.place.is_first else (None, ""))
    if state is None:
        return None, fault
    own = wrong_checksum(checkpoint, state.files, group.place.rank, group.place.world_size)
    faults = [words for words in group.gather_everywhere(str(own) if own else "") if words]
    return (None, faults[0]) if faults else (state, "")


def _first_look(checkpoint: Path) -> tuple[State | None, str]:
    """State and sizes; costs no reading."""
    try:
        state = read_state(checkpoint)
    except UserError as error:
        return None, str(error)
    fault = wrong_size(checkpoint, state.files)
    return (None, str(fault)) if fault else (state, "")


def superseded(output: Path, force: bool) -> list[Path]:
    """The checkpoints that a run with --no_resume removes; raises UserError without `force` when there are any."""
    found = find_checkpoints(output)
    if found and not force:
        raise UserError(
            f"--no_resume, but {output} holds {len(found)} checkpoints, the newest {found[-1].name}; "
            "choose another --output_model_path, or give --force to remove them."
        )
    return found


def superfluous(checkpoints: list[Path], newest: Path, keep: int, keep_every: int) -> list[Path]:
    """Which of `checkpoints` (oldest first) may go when `newest` has been written.

    keep: newest ones to keep, 0 for all. keep_every: updates whose multiples are kept for ever, 0 for none.
    """
    old = checkpoints[:-keep] if keep else []
    return [path for path in old if path != newest and not (keep_every and updates_of(path) % keep_every == 0)]


def remove_checkpoint(path: Path) -> None:
    """Remove a checkpoint; from the first moment on it no longer counts as finished."""
    (path / STATE_FILE).unlink()
    shutil.rmtree(path)


def make_partial(output: Path, partial: Path, parameters: int) -> None:
    """Make the folder `partial` for a checkpoint under way, remove unfinished ones; raises UserError without room."""
    for left_over in output.glob(".checkpoint-*.partial"):
        shutil.rmtree(left_over, ignore_errors=True)
    needed = BYTES_PER_PARAMETER * parameters
    free = shutil.disk_usage(output).free
    if free < needed:
        raise UserError(
            f"{output}: {free / 1e9:.2f} GB free, a checkpoint needs about {needed / 1e9:.2f} GB; "
            "make room and run the same command again."
        )
    try:
        (partial / ENGINE_TAG).mkdir(parents=True)
    except OSError as error:
        raise UserError(f"{partial}: cannot be made ({error.strerror}); earlier checkpoints are untouched.") from error
