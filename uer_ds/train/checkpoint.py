"""Checkpoints that are whole or absent.

`OUTPUT/checkpoint-N` (N updates) holds `engine/` (DeepSpeed's own files), `model.safetensors` (plain float32 weights
under UER's names), `config.json`, `tokenizer/` and `state.json`. All of it is written under another name, synced,
`state.json` last,
then renamed: a folder called checkpoint-N can be trusted. Cost: about 24 bytes a parameter on disk.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uer_ds.config.model import ModelConfig
from uer_ds.engine.distributed import Group
from uer_ds.engine.engine import Engine
from uer_ds.errors import UserError
from uer_ds.models.weights import save_weights
from uer_ds.tokenizers import Tokenizer

STATE_FILE = "state.json"
CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
TOKENIZER_FOLDER = "tokenizer"
BYTES_PER_PARAMETER = 24
"""The engine's weights, float32 masters and two moments, and the plain weights, 4 bytes each; some more for ties."""


@dataclass(frozen=True)
class State:
    """What a run needs besides weights and optimizer to go on, and what a reader may want to know of it.

    `layout` and `identity` are what must be equal for an exact continuation; `meter_rows` are updates not yet reported.
    """

    updates: int
    samples: int
    tokens: int
    layout: dict[str, int]
    seed: int
    identity: dict[str, Any]
    tokenizer: dict[str, Any]
    datasets: list[dict[str, Any]]
    run: dict[str, Any]
    versions: dict[str, str]
    meter_names: list[str] = dataclasses.field(default_factory=list)
    meter_rows: list[list[float]] = dataclasses.field(default_factory=list)


def checkpoint_path(output: Path, updates: int) -> Path:
    """The folder of the checkpoint after `updates`."""
    return output / f"checkpoint-{updates}"


def find_checkpoints(output: Path) -> list[Path]:
    """Whole checkpoints in the run folder `output`, oldest first."""
    found = []
    for path in output.glob("checkpoint-*"):
        match = re.fullmatch(r"checkpoint-(\d+)", path.name)
        if match and (path / STATE_FILE).is_file():
            found.append((int(match.group(1)), path))
    return [path for _, path in sorted(found)]


def read_state(checkpoint: Path) -> State:
    """The `State` of a checkpoint folder; raises `UserError` when its file is damaged."""
    path = checkpoint / STATE_FILE
    try:
        return State(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); remove {checkpoint} to use the one before.") from error


def save_checkpoint(
    output: Path, state: State, engine: Engine, model: ModelConfig, tokenizer: Tokenizer, group: Group, keep: int
) -> Path:
    """Write `OUTPUT/checkpoint-N` and drop all but the newest `keep` (0: none is dropped). Collective."""
    final = checkpoint_path(output, state.updates)
    partial = output / f".{final.name}.partial"
    group.on_first(lambda: _prepare(output, partial, engine.parameter_count))
    with _failures_explained(partial, final):
        engine.save(partial)
        weights = dict(engine.full_weights(keep=group.place.is_first))

    def finish() -> None:
        with _failures_explained(partial, final):
            _write_readable_part(partial, state, model, weights, tokenizer)
            _publish(partial, final)
            _drop_old(output, final, keep)

    group.on_first(finish)
    return final


def _prepare(output: Path, partial: Path, parameters: int) -> None:
    for left_over in output.glob(".checkpoint-*.partial"):
        shutil.rmtree(left_over, ignore_errors=True)
    needed = BYTES_PER_PARAMETER * parameters
    free = shutil.disk_usage(output).free
    if free < needed:
        raise UserError(
            f"{output}: {free / 1e9:.2f} GB free, a checkpoint needs about {needed / 1e9:.2f} GB; "
            "make room and run the same command again."
        )
    partial.mkdir(parents=True)


@contextmanager
def _failures_explained(partial: Path, final: Path) -> Iterator[None]:
    """A checkpoint that cannot be written becomes one sentence and leaves nothing behind."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "PytorchStreamWriter" not in str(error):  # torch's words for a full disk
            raise
        shutil.rmtree(partial, ignore_errors=True)
        raise UserError(
            f"{final}: the checkpoint could not be written ({str(error).splitlines()[0]}); earlier ones are untouched: "
            "make room and run the same command again."
        ) from error


def _write_readable_part(
    folder: Path, state: State, model: ModelConfig, weights: dict[str, Any], tokenizer: Tokenizer
) -> None:
    save_weights(weights, folder / WEIGHTS_FILE)
    _write_json(folder / CONFIG_FILE, model.to_dict())
    (folder / TOKENIZER_FOLDER).mkdir()
    _write_json(folder / TOKENIZER_FOLDER / "description.json", tokenizer.save(folder / TOKENIZER_FOLDER))
    _write_json(folder / STATE_FILE, dataclasses.asdict(state))


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _publish(partial: Path, final: Path) -> None:
    """Sync every file and folder, then give the checkpoint its name."""
    for path in [*partial.rglob("*"), partial]:
        sync(path)
    os.replace(partial, final)
    sync(final.parent)


def sync(path: Path) -> None:
    """fsync a file or a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _drop_old(output: Path, newest: Path, keep: int) -> None:
    for path in find_checkpoints(output)[:-keep] if keep else []:
        if path != newest:
            remove_checkpoint(path)


def remove_checkpoint(path: Path) -> None:
    """Remove a checkpoint; from the first moment on it no longer counts as whole."""
    (path / STATE_FILE).unlink()
    shutil.rmtree(path)
