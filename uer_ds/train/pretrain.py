"""A pre-training run from its `RunConfig`: builds every part, resumes, trains, leaves everything closed.

This file is the only one that knows all the rooms; each of them takes plain values.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
import torch

from uer_ds.config.options import non_default_values
from uer_ds.config.run import RunConfig
from uer_ds.data.blend import Blend
from uer_ds.data.dataset import Dataset, open_dataset
from uer_ds.data.loader import Loader, Objective
from uer_ds.data.lock import FolderLock
from uer_ds.data.sampler import Sampler
from uer_ds.engine import distributed
from uer_ds.engine.distributed import Group
from uer_ds.engine.ds_config import engine_config, zero_stage
from uer_ds.engine.engine import Engine
from uer_ds.errors import UserError
from uer_ds.launch.place import Place
from uer_ds.models.init import decays, initialise
from uer_ds.models.model import Model, build_model
from uer_ds.models.weights import load_weights
from uer_ds.objectives import build_objective
from uer_ds.tokenizers import Tokenizer
from uer_ds.train import reports
from uer_ds.train.checkpoint import State, find_checkpoints, read_state, remove_checkpoint, save_checkpoint
from uer_ds.train.evaluate import evaluate
from uer_ds.train.loop import Hooks, Progress, Rhythm, train
from uer_ds.train.meter import Meter
from uer_ds.train.optim import build_optimizer
from uer_ds.train.schedules import multiplier
from uer_ds.train.stopping import REQUEUE, StopWish

MAY_CHANGE = ("dataset_path", "eval_dataset_path", "loader_workers")
"""Data options that may differ when a run is resumed.

Paths (the datasets' fingerprints count) and what only costs time.
"""


def pretrain(run: RunConfig, place: Place) -> int:
    """Run `run` as the process `place`; returns the exit status (0 done, `REQUEUE` stopped early after a save)."""
    wish = StopWish(run.train.max_minutes)
    with wish.listening(), distributed.joined(place) as group, _output_folder(run, group) as output:
        return Trainer(run, group, output, wish).train()


@contextmanager
def _output_folder(run: RunConfig, group: Group) -> Iterator[Path]:
    """The run's folder, locked by rank 0; every rank fails when it cannot be had."""
    assert run.paths.output_model_path is not None
    output = Path(run.paths.output_model_path)
    with ExitStack() as held:
        group.on_first(lambda: _hold(held, output))
        yield output


def _hold(held: ExitStack, output: Path) -> None:
    held.enter_context(FolderLock(output, "--output_model_path"))


class Trainer:
    """The parts of one run, on one rank."""

    def __init__(self, run: RunConfig, group: Group, output: Path, wish: StopWish):
        self.run, self.group, self.output, self.wish = run, group, output, wish
        self.datasets = [open_dataset(path) for path in run.data.dataset_path]
        self.tokenizer: Tokenizer = self.datasets[0].load_tokenizer()
        self.objective = make_objective(run, self.datasets)
        self.held_out = self._held_out_objective()
        self.resume_from = self._newest_checkpoint()
        state = read_state(self.resume_from) if self.resume_from else None
        if state is not None:
            self._check_same_run(state)
        self.engine = self._build_engine()
        self.progress, self.meter = Progress(), Meter()
        if state is not None:
            self._resume(state)
        self.saved_updates = self.progress.updates
        self.console: reports.Console | None = None
        self.files: reports.Files | None = None

    # -- building ------------------------------------------------------------------------------------------------------

    def _held_out_objective(self) -> Objective | None:
        path = self.run.data.eval_dataset_path
        return make_objective(self.run, [open_dataset(path)]) if path else None

    def _newest_checkpoint(self) -> Path | None:
        return self.group.on_first(self._choose_checkpoint)

    def _choose_checkpoint(self) -> Path | None:
        found = find_checkpoints(self.output)
        if not found or not self.run.train.no_resume:
            return found[-1] if found else None
        if not self.run.train.force:
            raise UserError(
                f"--no_resume, but {self.output} holds {len(found)} checkpoints, the newest {found[-1].name}; "
                "choose another --output_model_path, or give --force to remove them."
            )
        for path in found:
            remove_checkpoint(path)
        return None

    def _build_engine(self) -> Engine:
        run = self.run
        where = run.paths.ds_config or "the DeepSpeed configuration"
        config = engine_config(
            run.engine,
            where,
            batch_size=run.train.batch_size,
            accumulation_steps=run.train.accumulation_steps,
            world_size=self.group.place.world_size,
            max_grad_norm=run.optim.max_grad_norm,
            whole_matrices="adafactor" if run.optim.optimizer == "adafactor" else None,
        )
        model = self._build_model()
        return Engine(model, build_optimizer(model, decays(model), run.optim), config, where)

    def _build_model(self) -> Model:
        torch.manual_seed(self.run.train.seed)  # the same weights on every rank
        model = build_model(self.run.model)
        initialise(model, deep_init=self.run.train.deep_init)
        if self.run.train.deepspeed_checkpoint_activations:
            model.recompute_activations(self.run.train.deepspeed_checkpoint_layers_num)
        if self.run.paths.pretrained_model_path and self.resume_from is None:
            report = load_weights(model, Path(self.run.paths.pretrained_model_path), strict=False)
            if self.group.place.is_first and (report.missing or report.unexpected):
                print(f"{self.run.paths.pretrained_model_path}: {report}", flush=True)
        return model

    def _check_same_run(self, state: State) -> None:
        """Refuse to go on with a checkpoint of another model, dataset, order or layout."""
        advice = "use the same again, or another --output_model_path with --pretrained_model_path"
        if state.layout != self.layout():
            raise UserError(
                f"{self.resume_from}: was written with {_words(state.layout)}, this run has {_words(self.layout())}; "
                f"{advice}."
            )
        ours = self.identity()
        for key in {**state.identity, **ours}:
            before, now = state.identity.get(key, "default"), ours.get(key, "default")
            if before != now:
                raise UserError(f"{self.resume_from}: was trained with {key} {before}, this run has {now}; {advice}.")

    def _resume(self, state: State) -> None:
        assert self.resume_from is not None
        self.engine.load(self.resume_from)
        self.progress = Progress(state.updates, state.samples, state.tokens)
        if self.group.place.is_first:  # rows are already summed over ranks
            self.meter.names, self.meter.rows = state.meter_names, state.meter_rows

    def layout(self) -> dict[str, int]:
        """What an exact continuation needs to be equal."""
        train = self.run.train
        return {
            "processes": self.group.place.world_size,
            "zero stage": zero_stage(self.run.engine),
            "batch_size": train.batch_size,
            "accumulation_steps": train.accumulation_steps,
        }

    def identity(self) -> dict[str, Any]:
        """What must not change in the course of a run: model, samples and their order, kind of optimizer."""
        run = self.run
        model = {f"model.{key}": value for key, value in run.model.to_dict().items() if key != "dropout"}
        data = {f"data.{key}": value for key, value in non_default_values(run.data).items() if key not in MAY_CHANGE}
        return {
            **model,
            **data,
            "datasets": [dataset.manifest.fingerprint for dataset in self.datasets],
            "tokenizer": self.tokenizer.fingerprint,
            "--seed": run.train.seed,
            "--optimizer": run.optim.optimizer,
        }

    # -- running -------------------------------------------------------------------------------------------------------

    def train(self) -> int:
        """The run itself; returns the exit status."""
        run, place = self.run, self.group.place
        if self.progress.updates >= run.total_updates:
            if place.is_first:
                print(f"{self.resume_from}: all {run.total_updates} updates are done; nothing is left to train.")
            return 0
        self._open_reports()
        loader = self._loader()
        try:
            if self.progress.updates == 0:
                self._evaluate(self.progress)
            done = train(
                self.engine,
                loader,
                self.group,
                self.progress,
                self._rhythm(),
                self._learning_rate,
                Hooks(self._report, self._evaluate, self._save),
                self.meter,
                self.wish,
                run.train.seed,
            )
            self._say_end(done)
            return 0 if done else REQUEUE
        finally:
            loader.close()
            self._close_reports()

    def _loader(self) -> Loader:
        run, place = self.run, self.group.place
        return Loader(
            self.objective,
            Sampler(len(self.objective), run.train.seed),
            rank=place.rank,
            world_size=place.world_size,
            batch_size=run.train.batch_size,
            accumulation=run.train.accumulation_steps,
            consumed=self.progress.samples,
            workers=run.data.loader_workers,
            pin_memory=self.engine.device.type == "cuda",
        )

    def _rhythm(self) -> Rhythm:
        run, train_config = self.run, self.run.train
        return Rhythm(
            total=run.total_updates,
            report=run.updates(train_config.report_steps),
            evaluate=run.updates(train_config.eval_steps) if train_config.eval_steps and self.held_out else 0,
            save=run.updates(train_config.save_checkpoint_steps),
        )

    def _learning_rate(self, update: int) -> float:
        optim = self.run.optim
        factor = multiplier(
            optim.scheduler,
            update,
            self.run.total_updates,
            warmup=optim.warmup,
            lr_decay=optim.lr_decay,
            learning_rate=optim.learning_rate,
        )
        return optim.learning_rate * factor

    # -- events --------------------------------------------------------------------------------------------------------

    def _report(self, progress: Progress, rate: float) -> None:
        values = self.meter.averages(self.group)
        seconds_per_update = values.pop("seconds_per_update")
        report = {
            "update": progress.updates,
            "total_updates": self.run.total_updates,
            "tokens": progress.tokens,
            "samples": progress.samples,
            **values,
            "learning_rate": rate,
            "grad_norm": self.engine.grad_norm(),
            "memory_gb": memory_gb(),
            "seconds_left": seconds_per_update * (self.run.total_updates - progress.updates),
        }
        if self.group.place.is_first:
            assert self.console and self.files
            self.console.say(reports.report_line(report))
            self.console.advance(progress.updates)
            self.files.write(report, reports.METRICS_FILE, "train")
            numbers = [(f"train/{name}", value) for name, value in report.items()]
            self.engine.report(numbers, progress.samples)

    def _evaluate(self, progress: Progress) -> None:
        if self.held_out is None:
            return
        train_config = self.run.train
        values = evaluate(self.engine, self.held_out, self.group, train_config.batch_size, train_config.eval_samples)
        report = {"update": progress.updates, "tokens": progress.tokens, **values}
        if self.group.place.is_first:
            assert self.console and self.files
            self.console.say(reports.evaluation_line(report))
            self.files.write(report, reports.EVALUATION_FILE, "eval")

    def _save(self, progress: Progress) -> None:
        if progress.updates == self.saved_updates:  # 0, or a stop right after a checkpoint
            return
        self.meter.flush(self.group)
        path = save_checkpoint(
            self.output,
            self._state(progress),
            self.engine,
            self.run.model,
            self.tokenizer,
            self.group,
            keep=self.run.train.keep_checkpoints,
        )
        self.saved_updates = progress.updates
        if self.group.place.is_first:
            assert self.console
            self.console.say(f"saved {path}")

    def _state(self, progress: Progress) -> State:
        return State(
            updates=progress.updates,
            samples=progress.samples,
            tokens=progress.tokens,
            layout=self.layout(),
            seed=self.run.train.seed,
            identity=self.identity(),
            tokenizer={"kind": self.tokenizer.kind, "fingerprint": self.tokenizer.fingerprint},
            datasets=[{"path": str(path)} for path in self.run.data.dataset_path],
            run=self.run.to_dict(),
            versions=distributed.versions(),
            meter_names=self.meter.names,
            meter_rows=self.meter.rows,
        )

    # -- saying --------------------------------------------------------------------------------------------------------

    def _open_reports(self) -> None:
        self.group.on_first(self._open_reports_here)

    def _open_reports_here(self) -> None:
        try:
            self._open_files()
        except OSError as error:
            raise UserError(f"{error.filename}: cannot be written ({error.strerror}); choose another path.") from error

    def _open_files(self) -> None:
        run, done = self.run, self.progress.updates
        configuration = run.to_dict()
        board = Path(run.paths.tensorboard_dir or self.output / "tensorboard")
        (self.output / "run.json").write_text(json.dumps(configuration, indent=1, ensure_ascii=False) + "\n", "utf-8")
        self.console = reports.Console(run.total_updates, done, run.paths.log_path)
        self.files = reports.Files(self.output, board, done, configuration)
        for line in self._introduction(board):
            self.console.say(line)

    def _introduction(self, board: Path) -> list[str]:
        run, place, model = self.run, self.group.place, self.run.model
        sequences = run.train.batch_size * run.train.accumulation_steps * place.world_size
        packed = "padded" if run.data.no_packing else "packed"
        rows = f"{len(self.objective):,} {packed} rows of {run.data.seq_length} tokens"
        version = distributed.versions()["deepspeed"]
        lines = [
            f"model      {'+'.join(model.embedding)} > {model.encoder} {model.layers_num} x {model.hidden_size} > "
            f"{'+'.join(model.target)}; {self.engine.parameter_count:,} parameters",
            f"data       {', '.join(run.data.dataset_path)}: {rows}, objective {self.objective.name}",
            f"update     {sequences} sequences = {place.world_size} processes x {run.train.batch_size} x "
            f"{run.train.accumulation_steps}; {run.total_updates} updates",
            f"engine     DeepSpeed {version}, ZeRO stage {self.engine.stage}, device {self.engine.device}, "
            f"{torch.get_num_threads()} threads, launcher {place.launcher}",
            f"output     {self.output}",
            f"watch      tensorboard --logdir {board}",
        ]
        if self.resume_from:
            done = f"{self.progress.updates} updates, {self.progress.tokens:,} tokens"
            lines.append(f"resume     {self.resume_from} ({done})")
        return lines

    def _say_end(self, done: bool) -> None:
        if self.console and not done:
            reason = self.wish.reason or "another process's wish"
            after = f"after update {self.progress.updates}"
            self.console.say(f"stopped by {reason} {after}; the same command goes on from there")

    def _close_reports(self) -> None:
        if self.console and self.files:
            self.console.close()
            self.files.close()


def make_objective(run: RunConfig, datasets: list[Dataset]) -> Objective:
    """The objective of `run` over `datasets`, from plain values."""
    data = run.data
    assert data.data_processor is not None and data.seq_length is not None
    tokenizer = datasets[0].load_tokenizer()
    options = {
        "vocab_size": tokenizer.vocab_size,
        "special": tokenizer.special,
        "target_special": datasets[0].load_tokenizer(target=True).special,
        "seq_length": data.seq_length,
        "tgt_seq_length": data.tgt_seq_length,
        "seed": run.train.seed,
        "packed": not data.no_packing,
        "whole_word": data.whole_word_masking,
        "span": data.span_masking,
        "span_geo_prob": data.span_geo_prob,
        "span_max_length": data.span_max_length,
        "short_seq_prob": data.short_seq_prob,
        "sentence_selection_strategy": data.sentence_selection_strategy,
    }
    parts = [build_objective(data.data_processor, dataset, options) for dataset in datasets]
    return parts[0] if len(parts) == 1 else Blend(parts, data.dataset_weights, run.train.seed)


def memory_gb() -> float:
    """Peak memory of this process on its GPU, or its resident memory on the CPU, in 10^9 bytes."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e9
    return psutil.Process().memory_info().rss / 1e9


def _words(layout: dict[str, int]) -> str:
    return ", ".join(f"{name} {value}" for name, value in layout.items())
