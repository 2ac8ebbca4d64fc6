"""A grid search: every point trains a fresh model with the same seed; the best model is kept.

A point's value is the metric on the dev file after its last epoch, as in UER-py. Without a launcher a process trains
trial after trial until the study has none left, and several processes share a study; under a launcher all ranks train
each trial together, rank 0 knows the study and tells the others.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from uer_ds.config.data import TokenizerConfig
from uer_ds.config.finetune import FinetuneRun, PredictPaths, PredictRun
from uer_ds.config.trials import GridRun, Point, identity
from uer_ds.engine import distributed
from uer_ds.engine.group import Group
from uer_ds.errors import UserError
from uer_ds.finetune.best_model import holds_trial, keep_best, trial_folder, write_trial
from uer_ds.finetune.exporting import export_result
from uer_ds.finetune.grid_report import News, draw, table, write_table
from uer_ds.finetune.infer import Predictor
from uer_ds.finetune.last_epoch import HOPELESS, LastEpoch, Watch
from uer_ds.finetune.material import Material, read_material
from uer_ds.finetune.result import refuse_checkpoints
from uer_ds.finetune.study import DONE, PRUNED, Study
from uer_ds.finetune.trainer import EarlyStop
from uer_ds.launch.address import host_name
from uer_ds.launch.place import Place
from uer_ds.registry import TASKS
from uer_ds.storage.files import write_json
from uer_ds.train.output import output_folder
from uer_ds.train.stopping import REQUEUE

POLL_SECONDS = 2.0
"""Between looks at the study while other processes train the last trials: one of them may die."""

TRAIN, WAIT, END, STOP = "train", "wait", "end", "stop"


@dataclass(frozen=True)
class Order:
    """What rank 0 tells all ranks to do next."""

    kind: str
    number: int = 0
    point: Point | None = None


def grid(run: GridRun, tokenizer_given: bool, place: Place, helper: bool = False) -> int:
    """Search as the process `place`; returns the exit status. A `helper` leaves the end to the one that started it."""
    wish = EarlyStop()
    path = run.base.paths.output_model_path  # shared by the processes of a study
    with wish.listening(), distributed.joined(place) as group, output_folder(path, group, shared=True) as output:
        group.on_first(lambda: refuse_checkpoints(output))
        search = Grid(run, read_material(run.base, tokenizer_given), group, wish, helper)
        if not search.train_all():
            return REQUEUE
        return 0 if helper else search.finish()


def open_study(run: GridRun, processes: int) -> Study:
    """The study of `run`, made if it is new. Raises UserError when it belongs to a run with other options."""
    output = Path(run.base.paths.output_model_path).absolute()
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--output_model_path: {output} cannot be made ({error.strerror}).") from error
    url = run.grid.study or f"sqlite:///{output / 'study.db'}"
    study = Study(url, run.grid.study_name or run.base.task, f"{host_name(os.environ)}:{output}")
    study.check_same(identity(run.base, processes, is_point=True))
    return study


class Grid:
    """The search of one process, or of all ranks together: every method is collective."""

    def __init__(self, run: GridRun, material: Material, group: Group, wish: EarlyStop, helper: bool):
        self.run, self.material, self.group, self.wish, self.helper = run, material, group, wish, helper
        self.output, self.points = Path(run.base.paths.output_model_path), run.points
        self.metric = material.task.metric
        self._failed: set[Point] = set()
        self._introduced = False
        self._study: Study | None = None
        group.on_first(self._open)

    def _open(self) -> None:
        self._study = open_study(self.run, self.group.place.world_size)
        self._news = News(self._study, self.run)

    @property
    def study(self) -> Study:
        """The study, on rank 0."""
        assert self._study
        return self._study

    # -- trials --------------------------------------------------------------------------------------------------------

    def train_all(self) -> bool:
        """Train until the study has nothing left to take; False when told to stop."""
        while (order := self._next()).kind in (TRAIN, WAIT):
            if order.kind == WAIT:
                time.sleep(POLL_SECONDS)
            elif order.point:
                self._train(order.number, order.point)
        return order.kind == END

    def _next(self) -> Order:
        if self.group.sum([float(bool(self.wish))]).item():
            return Order(STOP)
        return self.group.on_first(self._choose)

    def _choose(self) -> Order:
        taken = self.study.take(self.points, self._failed)
        if taken:
            return Order(TRAIN, taken.number, taken.point)
        self._news.tell()
        return Order(WAIT if not self.helper and self.study.busy(self.points) else END)

    def _train(self, number: int, point: Point) -> None:
        """Train a point. Whatever goes wrong with it, it goes back to the study."""
        trial = None
        try:
            trial = self._trial(number, point)
            done = trial.train()
            if done or trial.wish.reason == HOPELESS:
                self.group.on_first(lambda: self._settle(trial, number, point, done))
        except torch.OutOfMemoryError as error:
            if self.group.place.world_size > 1:
                raise  # the other ranks are somewhere in the middle of an update
            self._failed.add(point)
            print(f"failed: {point}: {str(error).splitlines()[0]}; the grid goes on without it", flush=True)
        finally:
            if self._study:
                self._study.give_up()  # nothing happens to a trial that has its end
            if trial:
                trial.engine.close()

    def _trial(self, number: int, point: Point) -> LastEpoch:
        name = "_".join(f"{key}{value:g}" for key, value in vars(point).items())
        paths = self.run.base.paths
        boards = Path(paths.tensorboard_dir or self.output / "tensorboard")
        paths = replace(paths, tensorboard_dir=str(boards / name), test_path=None)
        watch = Watch(
            f"trial {number}: {point}",
            introduce=not self._introduced,
            hopeless=self._is_hopeless if self.run.grid.prune else None,
            worth_keeping=self._is_best,
        )
        self._introduced = True
        run = point.applied(replace(self.run.base, paths=paths))
        return LastEpoch(run, self.material, self.group, self.wish, trial_folder(self.output, number), watch)

    def _is_hopeless(self, epoch: int, value: float) -> bool:
        return self.study.hopeless(epoch, value)

    def _is_best(self, value: float) -> bool:
        best = self.study.best()
        return best is None or best.value is None or value > best.value

    def _settle(self, trial: LastEpoch, number: int, point: Point, done: bool) -> None:
        """Tell the study how a trial ended, and keep its model if it is the best."""
        scores = trial.scores.values
        if done:
            write_trial(trial.output, self.study.name, number, point, scores)
        if not (self.study.complete(trial.value, scores) if done else self.study.prune()):
            print(f"trial {number}: was silent for too long and is trained by another process", flush=True)
        keep_best(self.output, self.study)
        self._news.tell()
        write_table(self.output / "grid.json", self.study, self.metric)

    # -- end -----------------------------------------------------------------------------------------------------------

    def finish(self) -> int:
        """Table, picture, and where asked for a test of the best model; 1 when points are missing."""
        here, missing = self.group.on_first(self._report)
        if here and self.material.test:
            self._test()
        return 1 if missing else 0

    def _report(self) -> tuple[bool, int]:
        """Whether the best model lies here, and how many points have no result."""
        study = self.study
        keep_best(self.output, study)
        rows = study.rows()
        write_table(self.output / "grid.json", study, self.metric)
        draw(self.output / "grid.png", rows, self.metric)
        print("\n".join(["", *table(rows, self.metric), ""]), flush=True)
        ended = {row.point for row in rows if row.state in (DONE, PRUNED)}
        missing = [point for point in self.points if point not in ended]
        for point in missing:
            print(f"no result: {point}", flush=True)
        best = study.best()
        if best is None:
            return False, len(missing)
        here = holds_trial(self.output, study.name, best.number)
        where = self.output if here else best.place
        print(f"best: {best.point} | {self.metric} {best.value:.4f} | its model is in {where}", flush=True)
        if here:
            self._write_scores({"dev": dict(best.scores)})
            print(export_result(self.output, self.material.task, self.run.base.options), flush=True)
        return here, len(missing)

    def _test(self) -> None:
        """Scores of the best model on the test file."""
        predictor = Predictor(prediction(self.run.base, self.output), tokenizer_given=False)
        outputs = predictor.outputs(self.material.test, self.group)
        if outputs is None:
            return
        material = self.material
        scores = TASKS[self.run.base.task].score(material.test, outputs, material.labels, self.run.base.options)
        numbers = " | ".join(f"{name} {value:.4f}" for name, value in scores.values.items())
        print("\n".join([*scores.lines, f"test, best of the grid: {numbers}"]), flush=True)
        best = self.study.best()
        assert best
        self._write_scores({"dev": dict(best.scores), "test": dict(scores.values)})

    def _write_scores(self, parts: dict[str, dict[str, float]]) -> None:
        write_json(self.output / "scores.json", {"metric": self.metric, **parts})


def prediction(run: FinetuneRun, folder: Path) -> PredictRun:
    """How the model in `folder` is asked."""
    paths = PredictPaths(str(folder), str(run.paths.test_path), str(folder), batch_size=run.training.batch_size)
    return PredictRun(run.task, paths, TokenizerConfig())
