"""`Saver`: writes checkpoints that are whole or absent, while training waits or while it goes on.

Everything is written under another name: first each rank's part of the engine, then (rank 0) the plain weights, read
back tensor by tensor from those parts, and `state.json` last; files and folders are synced, then the folder gets its
name. In the background (`--async_checkpoint`) training waits only for a copy in host memory; the ranks agree on the
rest between updates, by one small all-reduce for each as long as a save is under way. Never two at once. A failure on
any rank is one sentence on all, the unfinished folder is removed, and earlier checkpoints are untouched.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from uer_ds.config.model import ModelConfig
from uer_ds.engine.engine import ENGINE_TAG, Engine
from uer_ds.engine.group import Group
from uer_ds.errors import UserError
from uer_ds.storage.checksums import size_and_sum
from uer_ds.storage.disk import naming, remedy_in
from uer_ds.storage.files import sync, sync_tree, write_json
from uer_ds.storage.lazy import LazyTensor, TensorMap
from uer_ds.storage.places import CONFIG_FILE, STATE_FILE, checkpoint_path, find_checkpoints
from uer_ds.storage.writers import write_safetensors_file, write_torch
from uer_ds.storage.zero import read_zero
from uer_ds.tokenizers import Tokenizer
from uer_ds.train.checkpoint import WEIGHTS_FILES, State, make_partial, remove_checkpoint, superfluous


@dataclass(frozen=True)
class SavingRules:
    """What is kept, and how it is written.

    Attributes:
        keep: newest checkpoints to keep; 0: all.
        keep_every: updates whose multiples are kept for ever; 0: none.
        weights: a key of `WEIGHTS_FILES`, or "none".
        background: write while training goes on.
    """

    keep: int = 0
    keep_every: int = 0
    weights: str = "safetensors"
    background: bool = False


DISK_BYTES_PER_SECOND = 2e8
"""A slow disk, or a network's: what is assumed before a save has been measured."""


def first_save_seconds(trained: int, parameters: int, processes: int, weights: bool) -> float:
    """About how long a save takes of a model of so many parameters: AdamW's float32 state, divided by the processes,
    then the plain float32 weights, read back and written by one of them."""
    return (12 * trained / processes + 3 * 4 * parameters * weights) / DISK_BYTES_PER_SECOND


@dataclass
class _Pending:
    """A checkpoint under way; `work` is this rank's part of the present stage."""

    state: State
    work: Future[Any]
    began: float
    publishing: bool = False


class Saver:
    """Saves one run's checkpoints into `output`. Every method is collective.

    tokenizers: folder name inside a checkpoint -> tokenizer. `say` gets a line on rank 0 for each finished checkpoint.
    """

    def __init__(
        self,
        output: Path,
        engine: Engine,
        group: Group,
        model: ModelConfig,
        tokenizers: dict[str, Tokenizer],
        rules: SavingRules,
        say: Callable[[str], None],
    ):
        self._output, self._engine, self._group = output, engine, group
        self._model, self._tokenizers, self._rules, self._say = model, tokenizers, rules, say
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint") if rules.background else None
        self._pending: _Pending | None = None
        parameters = (engine.trained_count, engine.parameter_count)
        self.seconds = first_save_seconds(*parameters, group.place.world_size, rules.weights != "none")
        """From the call of `save` until the last finished checkpoint had its name; before the first one an estimate."""

    def save(self, state: State) -> None:
        """Begin `OUTPUT/checkpoint-N`, after the one before is finished; without `background`, also finish it.

        Raises UserError on all ranks when it, or the one before, cannot be written.
        """
        self.finish()
        began, partial = time.monotonic(), self._partial(state)
        self._group.on_first(lambda: make_partial(self._output, partial, self._engine.parameter_count))
        trouble = ""
        try:
            self._engine.save(partial, later=self._rules.background)
            if self._rules.weights != "none" and not self._engine.files_hold_all:
                trouble = self._gather_weights(partial)
        except OSError as error:
            trouble = str(error)
        self._pending = _Pending(state, self._start(lambda: self._write_engine(partial, trouble)), began)
        if not self._rules.background:
            self.finish()

    def poll(self) -> None:
        """Between updates: carry on with the checkpoint under way as far as that needs no waiting."""
        if self._pending is not None:
            done = float(self._pending.work.done())
            if self._group.sum([done]).item() == self._group.place.world_size:
                self._advance(self._pending)

    def finish(self) -> None:
        """Wait until no checkpoint is under way."""
        while self._pending is not None:
            self._advance(self._pending)

    def close(self) -> None:
        """End the background thread; not collective."""
        if self._pool is not None:
            self._pool.shutdown(wait=True)

    def _start(self, work: Callable[[], Any]) -> Future[Any]:
        if self._pool is not None:
            return self._pool.submit(work)
        done: Future[Any] = Future()
        done.set_result(work())
        return done

    def _advance(self, pending: _Pending) -> None:
        """The next stage, when every rank has done its part of this one."""
        if pending.publishing:
            trouble, files = self._group.broadcast(pending.work.result()), {}
        else:
            parts = self._group.gather_everywhere(pending.work.result())
            trouble = next((words for words, _ in parts if words), "")
            files = {name: numbers for _, part in parts for name, numbers in part.items()}
        if trouble:
            self._pending = None
            self._group.on_first(lambda: self._give_up(pending.state, trouble))
        elif pending.publishing:
            self._pending = None
            self.seconds = time.monotonic() - pending.began
            if self._group.place.is_first:
                self._say(f"saved {checkpoint_path(self._output, pending.state.updates)}")
        else:
            pending.publishing = True
            first = self._group.place.is_first
            pending.work = self._start(lambda: self._publish(pending.state, files) if first else "")

    def _partial(self, state: State) -> Path:
        return self._output / f".{checkpoint_path(self._output, state.updates).name}.partial"

    def _gather_weights(self, partial: Path) -> str:
        """Plain weights that the engine's files do not hold (NVMe): gathered and written one by one, at once."""
        gathered = self._engine.full_weights(keep=self._group.place.is_first)
        trouble = ""
        if self._group.place.is_first:
            shapes = self._engine.parameter_shapes()
            tensors = {
                name: LazyTensor(shape, torch.float32, lambda: next(gathered)[1]) for name, shape in shapes.items()
            }
            try:
                self._write_weights(partial, tensors)
            except OSError as error:
                trouble = str(error)
        for _ in gathered:  # also after an error: the other ranks are in the middle of it
            pass
        return trouble

    # -- parts of the work; these talk to nobody -----------------------------------------------------------------------

    def _write_engine(self, partial: Path, trouble: str) -> tuple[str, dict[str, tuple[int, int]]]:
        """This rank's files: what went wrong, and what was written."""
        self._engine.writer.write_all()
        written = self._engine.writer.written
        files = {path.relative_to(partial).as_posix(): numbers for path, numbers in written.items()}
        return trouble or self._engine.writer.trouble or "", files

    def _publish(self, state: State, files: dict[str, tuple[int, int]]) -> str:
        """Rank 0: everything else, the name, and old ones away; returns what went wrong."""
        partial, final = self._partial(state), checkpoint_path(self._output, state.updates)
        try:
            self._write_readable_part(partial)
            others = [path for path in partial.rglob("*") if path.is_file()]
            names = {path.relative_to(partial).as_posix(): path for path in others}
            records = {name: list(files.get(name) or size_and_sum(path)) for name, path in names.items()}
            write_json(partial / STATE_FILE, dataclasses.asdict(dataclasses.replace(state, files=records)))
            sync_tree(partial)
            if final.exists():  # damaged, and passed over when this run went on from an earlier one
                shutil.rmtree(final)
            os.replace(partial, final)
            sync(final.parent)
            self._drop_old(final)
        except (OSError, UserError) as error:
            return str(error).splitlines()[0]
        return ""

    def _write_readable_part(self, partial: Path) -> None:
        if self._rules.weights != "none" and self._engine.files_hold_all:
            found = read_zero(partial / ENGINE_TAG)
            self._write_weights(partial, {name: found[name] for name in self._engine.parameter_names})
        write_json(partial / CONFIG_FILE, self._model.to_dict())
        for name, tokenizer in self._tokenizers.items():
            (partial / name).mkdir()
            write_json(partial / name / "description.json", tokenizer.save(partial / name))

    def _write_weights(self, partial: Path, tensors: TensorMap) -> None:
        write = write_safetensors_file if self._rules.weights == "safetensors" else write_torch
        path = partial / WEIGHTS_FILES[self._rules.weights]
        with naming(path):
            write(path, tensors)

    def _drop_old(self, newest: Path) -> None:
        found = find_checkpoints(self._output)
        for path in superfluous(found, newest, self._rules.keep, self._rules.keep_every):
            remove_checkpoint(path)

    def _give_up(self, state: State, trouble: str) -> None:
        shutil.rmtree(self._partial(state), ignore_errors=True)
        raise UserError(
            f"{checkpoint_path(self._output, state.updates)}: the checkpoint could not be written ({trouble}); "
            f"earlier ones are untouched: {remedy_in(trouble)}."
        )
