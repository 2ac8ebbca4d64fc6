"""A fine-tuning run: reads the data, trains with the pre-training loop and engine, keeps the best epoch.

Collective from beginning to end: every rank reads the files, rank 0 writes and prints.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from uer_ds.config.finetune import FinetuneRun
from uer_ds.config.options import non_default_values
from uer_ds.config.sharing import ALONE
from uer_ds.data.loader import Loader
from uer_ds.data.sampler import Sampler
from uer_ds.engine import distributed
from uer_ds.engine.group import Group
from uer_ds.finetune.building import build_engine
from uer_ds.finetune.examples import Example
from uer_ds.finetune.exporting import export_result
from uer_ds.finetune.lora import adapters_of, merged, silent_adapters
from uer_ds.finetune.material import Material, read_material
from uer_ds.finetune.model import file_name
from uer_ds.finetune.predict import predict
from uer_ds.finetune.result import WEIGHTS_FILE, Description, refuse_checkpoints, write_result
from uer_ds.finetune.task import Output, Scores
from uer_ds.launch.place import Place
from uer_ds.storage.files import write_json
from uer_ds.train import reports
from uer_ds.train.journal import Journal, journal
from uer_ds.train.loop import Hooks, Progress, Rhythm, train
from uer_ds.train.meter import Meter
from uer_ds.train.output import output_folder
from uer_ds.train.schedules import learning_rate
from uer_ds.train.stopping import StopWish

EARLY = "early stopping"
STOPPED = 128 + signal.SIGTERM
"""Exit status of a run that was told to stop. Not `REQUEUE`: the same command would begin again, not go on."""


@dataclass
class Best:
    """The best evaluation so far, and how many have passed since."""

    value: float = float("-inf")
    scores: dict[str, float] = field(default_factory=dict)
    update: int = 0
    since: int = 0


class EarlyStop(StopWish):
    """A stop wish that the evaluation, too, can make."""

    def wish(self, reason: str) -> None:
        """Stop after this update."""
        self.reason = reason


def finetune(run: FinetuneRun, tokenizer_given: bool, place: Place) -> int:
    """Run `run` as the process `place`; returns the exit status."""
    wish = EarlyStop()
    joined = distributed.joined(place)
    with wish.listening(), joined as group, output_folder(run.paths.output_model_path, group) as output:
        group.on_first(lambda: refuse_checkpoints(output))
        material = read_material(run, tokenizer_given)
        return 0 if Finetuner(run, material, group, wish, output).train() else STOPPED


class Finetuner:
    """One training of a task, on one rank.

    Its `run` may differ from the material's in rates, batches and epochs, as the trials of a grid do.
    """

    def __init__(self, run: FinetuneRun, material: Material, group: Group, wish: EarlyStop, output: Path):
        self.run, self.material, self.group, self.wish, self.output = run, material, group, wish, output
        self.engine, self.loaded = build_engine(material, run, group.place.world_size)
        self.best, self.progress, self.meter = Best(), Progress(), Meter()
        self.journal = Journal()

    # -- length --------------------------------------------------------------------------------------------------------

    @property
    def updates_per_epoch(self) -> int:
        """Updates in which every example is seen once (the last one takes its rest from the next epoch)."""
        return -(-len(self.material.train) // self._sequences)

    @property
    def total_updates(self) -> int:
        """All updates of the run."""
        return -(-len(self.material.train) * self.run.training.epochs_num // self._sequences)

    @property
    def _evaluation_period(self) -> int:
        """Updates between evaluations: an epoch, or what the task's own --eval_steps says."""
        steps = getattr(self.run.options, "eval_steps", 0)
        return max(1, steps // self.run.training.accumulation_steps) if steps else self.updates_per_epoch

    @property
    def _sequences(self) -> int:
        training = self.run.training
        return training.batch_size * training.accumulation_steps * self.group.place.world_size

    # -- running -------------------------------------------------------------------------------------------------------

    def train(self) -> bool:
        """Train, keep the best epoch, test it; returns False when told to stop before the end.

        Without any epoch the model is evaluated and kept as it began.
        """
        paths, configuration = self.run.paths, self.run.to_dict()
        board = Path(paths.tensorboard_dir or self.output / "tensorboard")
        with journal(self.group, self.output, board, self.total_updates, 0, configuration, paths.log_path) as opened:
            self.journal = opened
            opened.say(self._introduction(board))
            if not self._train_epochs() and self.wish.reason != EARLY:
                opened.say(self._stopped())
                return False
            if not self.best.scores:
                self._evaluate(self.progress)
            self._finish()
        return True

    def _train_epochs(self) -> bool:
        training, place = self.run.training, self.group.place
        examples = self.material.training_set()
        loader = Loader(
            examples,
            Sampler(len(examples), training.seed),
            rank=place.rank,
            world_size=place.world_size,
            batch_size=training.batch_size,
            accumulation=training.accumulation_steps,
            workers=training.loader_workers,
            pin_memory=self.engine.device.type == "cuda",
        )
        report = max(1, training.report_steps // training.accumulation_steps)
        never = self.total_updates + 1
        with loader:
            return train(
                self.engine,
                loader,
                self.group,
                self.progress,
                Rhythm(self.total_updates, report, self._evaluation_period, never),
                self._learning_rate,
                Hooks(self._skipped, self._report, self._evaluate, lambda progress: None),
                self.meter,
                self.wish,
                training.seed,
            )

    def _learning_rate(self, update: int) -> float:
        return learning_rate(self.run.optim, update, self.total_updates)

    def _scores(self, examples: list[Example]) -> Scores:
        """Evaluate; the same on every rank."""
        return self._scored(examples, self._outputs(examples))

    def _outputs(self, examples: list[Example]) -> list[Output] | None:
        """The head's outputs for `examples` as the model is now, on rank 0."""
        material, batch_size = self.material, self.run.training.batch_size
        self.engine.train(False)
        outputs = predict(self.engine.predict, examples, material.task.batch_of, material.pad, batch_size, self.group)
        self.engine.train(True)
        return outputs

    def _scored(self, examples: list[Example], outputs: list[Output] | None) -> Scores:
        scored = None
        if outputs is not None:
            scored = self.material.task.score(examples, outputs, self.material.labels, self.run.options)
        return self.group.broadcast(scored)  # type: ignore[return-value]

    # -- events --------------------------------------------------------------------------------------------------------

    def _report(self, progress: Progress, rate: float) -> None:
        values = self.meter.averages(self.group)
        self.journal.report(reports.training_report(progress, self.total_updates, values, rate, self.engine))

    def _skipped(self, progress: Progress, losses: list[Tensor]) -> None:
        self.journal.say(f"update {progress.updates + 1}: loss or gradient is not finite; skipped, nothing was changed")

    def _evaluate(self, progress: Progress) -> None:
        """Scores on the dev file; the best epoch so far is kept on disk, and the first one in any case."""
        scores = self._scores(self.material.dev)
        value = scores.values[self.material.task.metric]
        better = value > self.best.value or not self.best.scores
        if better:
            self.best = Best(value, dict(scores.values), progress.updates)
            self._keep()
        else:
            self.best.since += 1
        if self.run.training.early_stopping and self.best.since >= self.run.training.early_stopping:
            self.wish.wish(EARLY)
        self._say_scores(scores, f"dev, {self._epoch(progress.updates)}", better)
        self._record(scores, "dev")

    def _record(self, scores: Scores, part: str) -> None:
        done = self.progress
        self.journal.evaluation({"part": part, "update": done.updates, "tokens": done.tokens, **scores.values}, part)

    def _keep(self) -> None:
        """Write the model as it is now."""
        first = self.group.place.is_first
        weights = {file_name(name): tensor for name, tensor in self.engine.full_weights(keep=first)}
        start = self.material.start
        said = Description(
            self.run.task,
            self.material.labels,
            non_default_values(self.run.options),
            self.material.encoder.seq_length,
            self.best.scores,
        )
        adapters = adapters_of(weights, self.run.lora)
        whole = merged(weights, adapters)
        self.group.on_first(lambda: write_result(self.output, whole, adapters, start.config, start.tokenizer, said))

    def _finish(self) -> None:
        """The scores of the best epoch, on the test file too where there is one."""
        found = {"dev": self.best.scores}
        if self.material.test:
            found["test"] = self._test()
        metric = self.material.task.metric
        values = {"metric": metric, "update": self.best.update, **found}
        self.group.on_first(lambda: write_json(self.output / "scores.json", values))
        exported = self.group.on_first(lambda: export_result(self.output, self.material.task, self.run.options))
        self.journal.say(["", f"scores of {self._epoch(self.best.update)}, chosen by {metric}:", *score_table(found)])
        self.journal.say(exported)

    def _test(self) -> dict[str, float]:
        """Scores of the best epoch on the test file."""
        if self.best.update != self.progress.updates:
            silent = silent_adapters(self.engine.parameter_shapes())
            self.engine.replace_weights(self.output / WEIGHTS_FILE, file_name, silent)
        scores = self._scores(self.material.test)
        self._say_scores(scores, f"test, {self._epoch(self.best.update)}", False)
        self._record(scores, "test")
        return dict(scores.values)

    # -- saying --------------------------------------------------------------------------------------------------------

    def _epoch(self, updates: int) -> str:
        return f"epoch {-(-updates // self.updates_per_epoch)}"

    def _introduction(self, board: Path) -> list[str]:
        material, place, training = self.material, self.group.place, self.run.training
        config = material.start.config
        seen = len(material.train) + len(material.dev) + len(material.test)
        cut = f"; {material.encoder.cut:,} of {seen:,} were cut at {material.encoder.seq_length} tokens" * bool(
            material.encoder.cut
        )
        lines = [
            f"task       {self.run.task}, {len(material.labels)} labels; "
            f"{len(self.material.train):,} examples to train, {len(self.material.dev):,} dev{cut}",
            f"model      {'+'.join(config.embedding)} > {config.encoder} {config.layers_num} x {config.hidden_size}; "
            f"{self.engine.parameter_count:,} parameters, {self.engine.trained_count:,} of them trained",
            *material.start.notes,
            *material.noticed,
            f"weights    {self._origin()}",
            f"update     {self._sequences} examples = {ALONE.in_words(place.world_size)} x {training.batch_size} x "
            f"{training.accumulation_steps}; {self.total_updates} updates in {training.epochs_num} epochs",
            f"output     {self.output}",
            f"watch      tensorboard --logdir {board}",
        ]
        return lines

    def _stopped(self) -> str:
        """What a stop leaves behind."""
        kept = f"{self._epoch(self.best.update)}, the best so far, is kept in {self.output}"
        return (
            f"stopped ({self.wish.reason or 'another process was told to'}) at update {self.progress.updates} of "
            f"{self.total_updates}; {kept if self.best.scores else 'nothing of this run is kept'}; "
            "the same command begins again"
        )

    def _origin(self) -> str:
        if self.loaded is None:
            return f"random, seed {self.run.training.seed}"
        new = f"; new: {', '.join(self.loaded.missing)}" if self.loaded.missing else ""
        return f"{self.run.paths.pretrained_model_path}{new}"

    def _say_scores(self, scores: Scores, what: str, better: bool) -> None:
        numbers = " | ".join(f"{name} {value:.4f}" for name, value in scores.values.items())
        self.journal.say([*scores.lines, f"{what}: {numbers}{' | best so far, kept' if better else ''}"])


def score_table(parts: Mapping[str, Mapping[str, float]]) -> list[str]:
    """A line for each part of the data, a column for each score."""
    names = list(next(iter(parts.values())))
    width = max(9, *map(len, names))
    lines = [" " * 6 + "".join(name.rjust(width + 2) for name in names)]
    for part, values in parts.items():
        lines.append(part.ljust(6) + "".join(f"{values[name]:.4f}".rjust(width + 2) for name in names))
    return lines
