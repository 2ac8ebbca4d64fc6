"""A pre-training run from its `RunConfig`: builds every part, resumes, trains, leaves everything closed.

This file is the only one that knows all the rooms; each of them takes plain values.
"""

from __future__ import annotations

import dataclasses
import platform
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from uer_ds.config.batches import settle_batches
from uer_ds.config.checks_of_training import notes_on
from uer_ds.config.data import SamplingConfig
from uer_ds.config.layout import Layout
from uer_ds.config.run import AUTO, RunConfig
from uer_ds.data.blend import Blend, RowParts
from uer_ds.data.dataset import Dataset, open_dataset
from uer_ds.data.loader import Loader
from uer_ds.data.sampler import Sampler
from uer_ds.data.samples import Objective, require_samples
from uer_ds.engine import distributed
from uer_ds.engine.cores import threads_in_words
from uer_ds.engine.ds_config import engine_config
from uer_ds.engine.engine import Engine
from uer_ds.engine.group import Group
from uer_ds.engine.machine import device, free_memory, versions
from uer_ds.engine.partitioned import gathered, partitioned
from uer_ds.engine.shared_rows import SharedRows
from uer_ds.launch.place import Place
from uer_ds.models.compiling import compile_regions
from uer_ds.models.init import decays, shrink_branches
from uer_ds.models.model import Model, build_model
from uer_ds.models.weights import load_weights
from uer_ds.objectives import RowOptions, build_objective
from uer_ds.plan.auto import settle_micro_batch
from uer_ds.storage.places import TARGET_TOKENIZER_FOLDER, TOKENIZER_FOLDER
from uer_ds.tokenizers import Tokenizer
from uer_ds.train import reports, resuming
from uer_ds.train.checkpoint import (
    State,
    newest_sound,
    remove_checkpoint,
    superseded,
)
from uer_ds.train.evaluate import evaluate
from uer_ds.train.journal import Journal, journal
from uer_ds.train.loop import Hooks, Progress, Rhythm, train
from uer_ds.train.meter import Meter
from uer_ds.train.optim import build_optimizer, whole_matrices
from uer_ds.train.output import output_folder
from uer_ds.train.saving import Saver, SavingRules
from uer_ds.train.schedules import learning_rate
from uer_ds.train.stopping import CHECKPOINT, EVALUATION, REQUEUE, StopWish
from uer_ds.train.watchdog import Source, Watchdog


def pretrain(run: RunConfig, place: Place, wish: StopWish) -> int:
    """Run `run` as the process `place`; returns the exit status (0 done, `REQUEUE` stopped early after a save)."""
    joined = distributed.joined(place, run.train.network_timeout_seconds)
    assert run.paths.output_model_path is not None
    with joined as group, output_folder(run.paths.output_model_path, group) as output:
        return Trainer(run, group, output, wish).train()


COLUMNS = 8
"""Padded rows of a micro-batch are cut to a multiple of so many tokens, which matrix products of 16 bits like."""


class Trainer:
    """The parts of one run, on one rank. With `saves` False nothing is saved (a trial)."""

    def __init__(self, run: RunConfig, group: Group, output: Path, wish: StopWish, saves: bool = True):
        self.run, self.group, self.output, self.wish, self.saves = run, group, output, wish, saves
        self.datasets = [open_dataset(path) for path in run.data.dataset_path]
        self.objective = make_objective(run, self.datasets)
        # Only attention passes padding over; what reads a row in order would end elsewhere.
        cuts = run.model.encoder == "transformer" and run.sharing.rows == 1
        self.trim = COLUMNS if cuts else None
        lengths = self.objective.lengths if cuts else None
        self.sampler = Sampler(len(self.objective), run.train.seed, lengths=lengths)
        self.held_out = self._held_out_objective()
        self.identity = resuming.identity(run, self.datasets)
        self.resume_from, state = self._newest_checkpoint()
        self.run, self.changes = self._settled(state.layout if state else None)
        self.layout = resuming.layout(self.run, group.place.world_size)
        if state is not None:
            assert self.resume_from is not None
            resuming.check_same_run(self.resume_from, state, self.identity)
            resuming.check_division(self.resume_from, state.layout, self.layout)
        self.engine = self._build_engine()
        self.progress, self.meter = Progress(), Meter()
        if state is not None:
            self._resume(state)
        self.saved_updates = self.progress.updates
        self.watchdog = self._watchdog()
        self.journal = Journal()
        self.saver = self._build_saver()
        wish.note(CHECKPOINT, self.saver.seconds)

    # -- building ------------------------------------------------------------------------------------------------------

    def _held_out_objective(self) -> Objective | None:
        path = self.run.data.eval_dataset_path
        return make_objective(self.run, [open_dataset(path)]) if path else None

    def _newest_checkpoint(self) -> tuple[Path | None, State | None]:
        if self.run.train.no_resume:
            self.group.on_first(self._clear_for_new_run)
            return None, None
        return newest_sound(self.output, self.group, lambda line: print(f"warning: {line}", flush=True)) or (None, None)

    def _clear_for_new_run(self) -> None:
        for path in superseded(self.output, self.run.train.force):
            remove_checkpoint(path)

    def _settled(self, before: Layout | None) -> tuple[RunConfig, list[str]]:
        """The run with its micro-batch and their number; `before`: the layout of the checkpoint that is continued."""
        run, place, chosen = self.run, self.group.place, list[str]()
        if run.train.batch_size == AUTO:
            free = min(self.group.gather_everywhere(free_memory(place.local_world_size)))
            kind = "cpu" if device().type == "cpu" else "gpu"
            run, chosen = settle_micro_batch(run, place.world_size, kind, free, before)
        run, changes = settle_batches(run, place.world_size, before)
        return run, [*chosen, *changes]

    def _build_saver(self) -> Saver:
        train = self.run.train
        every = train.keep_every_checkpoint * self.run.updates(train.save_checkpoint_steps)
        rules = SavingRules(train.keep_checkpoints, every, train.save_weights, train.async_checkpoint)
        tokenizers: dict[str, Tokenizer] = {}
        self.group.on_first(lambda: tokenizers.update(self._tokenizers()))  # the others do not write them
        return Saver(self.output, self.engine, self.group, self.run.model, tokenizers, rules, self._say)

    def _tokenizers(self) -> Iterator[tuple[str, Tokenizer]]:
        """Name of the folder in a checkpoint, and the tokenizer that lies there."""
        first = self.datasets[0]
        yield TOKENIZER_FOLDER, first.load_tokenizer()
        if first.manifest.target_tokenizer:
            yield TARGET_TOKENIZER_FOLDER, first.load_tokenizer(target=True)

    def _build_engine(self) -> Engine:
        run = self.run
        where = run.paths.ds_config or "the DeepSpeed configuration"
        config = engine_config(
            run.engine,
            where,
            batch_size=run.train.batch_size,
            accumulation_steps=run.accumulation,
            world_size=self.group.place.world_size,
            max_grad_norm=run.optim.max_grad_norm,
            whole_matrices=whole_matrices(run.optim.optimizer),
            sharing=run.sharing,
        )
        model = self._build_model(config, where)
        return Engine(model, build_optimizer(model, decays(model), run.optim), config, where)

    def _build_model(self, config: dict[str, Any], where: str) -> Model:
        torch.manual_seed(self.run.train.seed)  # the same weights on any number of ranks, under any stage
        with partitioned(config, where):
            model = build_model(self.run.model)
        if self.run.train.deep_init:
            shrink_branches(model, gathered)
        if self.run.train.deepspeed_checkpoint_activations:
            model.recompute_activations(self.run.train.deepspeed_checkpoint_layers_num)
        if self.run.train.compile:
            compile_regions(model)
        if self.run.sharing.rows > 1:
            model.share_rows(SharedRows(self.group.place, self.run.sharing.rows))
        if self.run.paths.pretrained_model_path and self.resume_from is None:
            report = load_weights(model, Path(self.run.paths.pretrained_model_path), strict=False, gather=gathered)
            if self.group.place.is_first and (report.missing or report.unexpected):
                print(f"{self.run.paths.pretrained_model_path}: {report}", flush=True)
        return model

    def _resume(self, state: State) -> None:
        assert self.resume_from is not None
        self.engine.load(self.resume_from, state.layout.divided_like(self.layout))
        before, now = state.layout.division, self.layout.division
        if before != now:
            self.changes.insert(0, f"resume     written by {before}, continued by {now}")
        self.progress = Progress(state.updates, state.samples, state.tokens)
        if self.group.place.is_first:  # rows are already summed over ranks
            self.meter.names, self.meter.rows = state.meter_names, state.meter_rows

    # -- running -------------------------------------------------------------------------------------------------------

    def train(self) -> int:
        """The run itself; returns the exit status."""
        run, place = self.run, self.group.place
        if self.progress.updates >= run.total_updates:
            if place.is_first:
                print(f"{self.resume_from}: all {run.total_updates} updates are done; nothing is left to train.")
            return 0
        paths, done = run.paths, self.progress.updates
        board = Path(paths.tensorboard_dir or self.output / "tensorboard")
        with journal(self.group, self.output, board, run.total_updates, done, run.to_dict(), paths.log_path) as opened:
            self.journal = opened
            opened.say(self._introduction(board))
            try:
                return 0 if self._train() else REQUEUE
            finally:
                self.saver.close()

    def _train(self) -> bool:
        if self.progress.updates == 0:
            self._evaluate(self.progress)
        with self._loader() as loader:
            done = train(
                self.engine,
                loader,
                self.group,
                self.progress,
                self._rhythm(),
                self._learning_rate,
                Hooks(self._skipped, self._report, self._evaluate, self._save, self.saver.poll),
                self.meter,
                self.wish,
                self.run.train.seed,
                self.run.sharing,
            )
        self.saver.finish()
        if not done:
            reason = self.wish.reason or "another process's wish"
            after = f"after update {self.progress.updates}"
            self.journal.say(f"stopped by {reason} {after}; the same command goes on from there")
        return done

    def _loader(self) -> Loader:
        run, place, sharing = self.run, self.group.place, self.run.sharing
        return Loader(
            self._own_part(self.objective),
            self.sampler,
            rank=sharing.reader(place.rank),
            world_size=sharing.readers(place.world_size),
            batch_size=run.train.batch_size,
            accumulation=run.accumulation,
            consumed=self.progress.samples,
            workers=run.data.loader_workers,
            trim=self.trim,
            pin_memory=self.engine.device.type == "cuda",
            stalled=self._stalled,
            stall_seconds=run.train.stall_seconds,
        )

    def _own_part(self, objective: Objective) -> Objective:
        """What this process reads of the samples: all of each row, or its part where processes share rows."""
        sharing, rank = self.run.sharing, self.group.place.rank
        return objective if sharing.rows == 1 else RowParts(objective, sharing.part(rank), sharing.rows)

    def _watchdog(self) -> Watchdog:
        train, data = self.run.train, self.run.data
        names = [field.name for field in dataclasses.fields(SamplingConfig)]
        sampling = {"data_processor": data.data_processor, "seed": train.seed}
        sampling |= {name: getattr(data, name) for name in names}
        source = Source(
            self.objective,
            self.sampler,
            train.batch_size,
            self.run.accumulation,
            sampling,
            self.run.sharing,
        )
        return Watchdog(self.group, source, self.output, train.max_skipped_updates, self._say, self._last_checkpoint)

    def _last_checkpoint(self) -> Path | None:
        self.saver.finish()
        found = newest_sound(self.output, self.group, self._say)
        return found[0] if found else None

    def _rhythm(self) -> Rhythm:
        run, train_config = self.run, self.run.train
        return Rhythm(
            total=run.total_updates,
            report=run.updates(train_config.report_steps),
            evaluate=run.updates(train_config.eval_steps) if train_config.eval_steps and self.held_out else 0,
            save=run.updates(train_config.save_checkpoint_steps),
        )

    def _learning_rate(self, update: int) -> float:
        return learning_rate(self.run.optim, update, self.run.total_updates)

    # -- events --------------------------------------------------------------------------------------------------------

    def _skipped(self, progress: Progress, losses: list[torch.Tensor]) -> None:
        self.watchdog.skipped(progress.updates, progress.samples, losses, self.engine.loss_scale())

    def _stalled(self, seconds: float) -> None:
        place, data = self.group.place, self.run.data
        print(
            f"rank {place.rank} ({platform.node()}): no batch for {seconds:.0f} seconds; "
            f"the disk of {', '.join(data.dataset_path)} may be slow or gone, or --loader_workers too few",
            file=sys.stderr,
            flush=True,
        )

    def _say(self, line: str) -> None:
        self.journal.say(line)

    def _report(self, progress: Progress, rate: float) -> None:
        values = self.meter.averages(self.group)
        report = reports.training_report(progress, self.run.total_updates, values, rate, self.engine)
        self.journal.report(report)
        self._tell_monitors("train", report, progress)

    def _tell_monitors(self, section: str, values: Mapping[str, float], progress: Progress) -> None:
        if self.group.place.is_first:
            self.engine.report([(f"{section}/{name}", value) for name, value in values.items()], progress.samples)

    def _evaluate(self, progress: Progress) -> None:
        if self.held_out is None:
            return
        train_config, began = self.run.train, time.monotonic()
        values = evaluate(
            self.engine,
            self._own_part(self.held_out),
            self.group,
            train_config.batch_size,
            train_config.eval_samples,
            self.run.sharing,
            self.trim,
        )
        self.wish.note(EVALUATION, time.monotonic() - began)
        report = {"update": progress.updates, "tokens": progress.tokens, **values}
        self.journal.say(reports.evaluation_line(report))
        self.journal.evaluation(report, "eval")
        self._tell_monitors("eval", values, progress)

    def _save(self, progress: Progress) -> None:
        if not self.saves or progress.updates == self.saved_updates:  # 0, or a stop right after a checkpoint
            return
        self.meter.flush(self.group)
        self.saver.save(self._state(progress))
        self.wish.note(CHECKPOINT, self.saver.seconds)
        self.saved_updates = progress.updates

    def _state(self, progress: Progress) -> State:
        tokenizer = self.datasets[0].manifest.tokenizer
        return State(
            updates=progress.updates,
            samples=progress.samples,
            tokens=progress.tokens,
            layout=self.layout,
            seed=self.run.train.seed,
            identity=self.identity,
            tokenizer={"kind": tokenizer.description["tokenizer"], "fingerprint": tokenizer.fingerprint},
            datasets=[{"path": str(d.folder), "fingerprint": d.manifest.fingerprint} for d in self.datasets],
            run=self.run.to_dict(),
            versions=versions(),
            meter_names=list(self.meter.names),
            meter_rows=list(self.meter.rows),  # a copy: it may be written while the next updates add theirs
        )

    # -- saying --------------------------------------------------------------------------------------------------------

    def _introduction(self, board: Path) -> list[str]:
        run, place, model = self.run, self.group.place, self.run.model
        packed = "padded" if run.data.no_packing else "packed"
        rows = f"{len(self.objective):,} {packed} rows of {run.data.seq_length} tokens"
        version = versions()["deepspeed"]
        lines = [
            f"model      {'+'.join(model.embedding)} > {model.encoder} {model.layers_num} x {model.hidden_size} > "
            f"{'+'.join(model.target)}; {self.engine.parameter_count:,} parameters",
            f"data       {', '.join(run.data.dataset_path)}: {rows}, objective {self.objective.spec.name}",
            f"update     {self.layout.sequences} sequences = {self.layout.product}; {run.total_updates} updates",
            f"engine     DeepSpeed {version}, ZeRO stage {self.engine.stage}, device {self.engine.device}, "
            f"{threads_in_words()}, launcher {place.launcher}",
            f"output     {self.output}",
            f"watch      tensorboard --logdir {board}",
        ]
        if self.resume_from:
            done = f"{self.progress.updates} updates, {self.progress.tokens:,} tokens"
            lines.append(f"resume     {self.resume_from} ({done})")
        notes = [*self.objective.notes, *notes_on(model)]
        return [*lines, *self.changes, *(f"note       {note}" for note in notes)]


def make_objective(run: RunConfig, datasets: list[Dataset]) -> Objective:
    """The objective of `run` over `datasets`, from plain values."""
    data = run.data
    assert data.data_processor is not None
    parts = [
        build_objective(data.data_processor, dataset, RowOptions.of(dataset, data, run.train.seed))
        for dataset in datasets
    ]
    if len(parts) > 1:
        return Blend(parts, data.dataset_weights, run.train.seed)
    require_samples(parts[0])
    return parts[0]
