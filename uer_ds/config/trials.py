"""Options of the commands that train a task many times: a grid of settings, the folds of cross-validation,
and what learns from the folds' answers.

Names and defaults are UER-py's where it has them. `identity` tells which runs may share results.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from uer_ds.config.finetune import FinetuneRun, PredictPaths
from uer_ds.config.options import Options, option
from uer_ds.errors import UserError

CV_TASKS = ("classifier", "prompt", "siamese", "multi_label")
"""Tasks whose rows stand alone and whose answers are probabilities of classes: those that can be cross-validated."""

ELSEWHERE = ("output_model_path", "tensorboard_dir", "log_path", "test_path", "ds_config")
WITHOUT_EFFECT = ("report_steps", "loader_workers")
OF_THE_POINT = ("batch_size", "learning_rate", "epochs_num")


@dataclass(frozen=True)
class GridConfig(Options):
    """What a grid tries, and where its trials are stored."""

    learning_rate_list: tuple[float, ...] = option((3e-5, 1e-4, 3e-4), "learning rates to try", above=0)
    batch_size_list: tuple[int, ...] = option((32, 64), "examples in a micro-batch of one rank, to try", least=1)
    epochs_num_list: tuple[int, ...] = option((3, 5, 8), "passes over the training data, to try", least=1)
    study: str | None = option(
        None,
        "database of the trials, as optuna names it (sqlite:///a.db, mysql://..., postgresql://...); all processes "
        "that name the same one share the work; default: study.db in the output folder",
    )
    study_name: str | None = option(None, "name of the study in its database; default: that of the task")
    trials_at_once: int | None = option(
        None, "trials that this machine trains at a time, each on its own device; default: its GPUs, 1 without", least=1
    )
    prune: bool = option(False, "end trials that are below the median of the others after the same number of epochs")


@dataclass(frozen=True, order=True)
class Point:
    """One setting of a grid."""

    batch_size: int
    learning_rate: float
    epochs_num: int

    def __str__(self) -> str:
        return ", ".join(f"{name} {value:g}" for name, value in asdict(self).items())

    def applied(self, run: FinetuneRun) -> FinetuneRun:
        """`run` with this setting."""
        training = replace(run.training, batch_size=self.batch_size, epochs_num=self.epochs_num)
        return replace(run, training=training, optim=replace(run.optim, learning_rate=self.learning_rate))


@dataclass(frozen=True)
class GridRun:
    """Everything that decides a grid search."""

    base: FinetuneRun
    grid: GridConfig

    def __post_init__(self) -> None:
        check_last_epoch(self.base, "grid")

    @property
    def points(self) -> list[Point]:
        """All settings in UER-py's order, each once."""
        grid = self.grid
        settings = product(grid.batch_size_list, grid.learning_rate_list, grid.epochs_num_list)
        return list(dict.fromkeys(Point(*setting) for setting in settings))


@dataclass(frozen=True)
class CvConfig(Options):
    """Folds, and where their probabilities are written."""

    folds_num: int = option(5, "folds: consecutive parts of the training file, each held out once", least=2)
    train_features_path: str = option(
        "",
        "numpy file [rows, classes] of what each row was given by the model that has not seen it",
    )


@dataclass(frozen=True)
class CvRun:
    """Everything that decides a cross-validation."""

    base: FinetuneRun
    cv: CvConfig

    def __post_init__(self) -> None:
        check_last_epoch(self.base, "cross-validation")
        for name in ("dev_path", "test_path"):
            if getattr(self.base.paths, name):
                raise UserError(f"--{name} has no place in a cross-validation, whose folds are held out; leave it out.")
        if not self.cv.train_features_path:
            raise UserError("--train_features_path is missing; name the numpy file of the folds' probabilities.")
        if self.base.training.epochs_num < 1:
            raise UserError(f"--epochs_num is {self.base.training.epochs_num}; expected a positive integer.")


@dataclass(frozen=True)
class CvPredictPaths(Options):
    """What the models of all folds read and write."""

    load_model_path: str = option("", "--output_model_path of the cross-validation, which tells the folds' folders")
    test_path: str = option("", "data without labels: .tsv with a header line, .jsonl or .parquet")
    test_features_path: str = option("", "numpy file [rows, classes] of the mean probabilities of all folds' models")
    folds_num: int = option(5, "folds of the cross-validation", least=1)
    config_path: str | None = option(None, "model JSON, or the name of one; default: the one beside the weights")
    batch_size: int = option(64, "examples in a batch of one process", least=1)
    seq_length: int | None = option(None, "longest row in tokens; default: that of the training, else 128", least=1)

    def of_fold(self, number: int) -> PredictPaths:
        """What one fold's model reads. Its answers are added up, so `prediction_path` only names their place."""
        model = fold_path(self.load_model_path, number)
        return PredictPaths(
            model, self.test_path, self.test_features_path, self.config_path, self.batch_size, self.seq_length
        )


@dataclass(frozen=True)
class StackConfig(Options):
    """Probabilities of several models -> one prediction, by gradient-boosted trees."""

    train_path: str | None = option(None, "training data with a column label (.tsv, .jsonl, .parquet)")
    test_path: str | None = option(None, "data to predict; scored where it has a column label")
    train_features_path: tuple[str, ...] = option((), "numpy files [rows, classes] of each model, or one prefix")
    test_features_path: tuple[str, ...] = option((), "the same models' answers for the test data")
    models_num: int | None = option(
        None, "with a prefix: the files are PREFIXtrain_features_I.npy, I below this", least=1
    )
    labels_num: int | None = option(None, "number of classes; default: what the training data has", least=2)
    prediction_path: str | None = option(None, "predictions for the test data: .tsv, .jsonl or .parquet")
    params_path: str | None = option(None, "JSON of LightGBM's parameters: read, or with --trials_num written")
    folds_num: int = option(5, "folds that choose the rounds and compare parameters", least=2)
    trials_num: int = option(0, "settings of parameters to try, by optuna; 0: no search", least=0)
    seed: int = option(7, "of folds, trees and search", least=0, below=2**31)  # an int of LightGBM

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("train_path", "train_features_path"):
            if not getattr(self, name):
                raise UserError(f"--{name} is missing.")
        if bool(self.test_path) != bool(self.test_features_path):
            raise UserError("--test_path and --test_features_path belong together; give both or none.")
        if self.prediction_path and not self.test_path:
            raise UserError("--prediction_path needs --test_path and --test_features_path.")


def fold_path(output: str, number: int) -> str:
    """The folder of a fold's model, UER-py's name: models/classifier.bin -> models/classifier-fold_0.bin."""
    path = Path(output)
    return str(path.with_name(f"{path.stem}-fold_{number}{path.suffix}"))


def check_last_epoch(run: FinetuneRun, what: str) -> None:
    """Many trainings count what the last epoch gives. Raises UserError for --early_stopping."""
    if run.training.early_stopping:
        raise UserError(f"--early_stopping chooses an epoch, but a {what} counts the last one; leave it out.")


def identity(run: FinetuneRun, processes: int, is_point: bool = False) -> dict[str, Any]:
    """What results depend on besides the data's contents: option -> value, as JSON data.

    `is_point`: rates, batches and epochs are told by each trial's point. A micro-batch belongs to one of `processes`.
    """
    left_out = {*ELSEWHERE, *WITHOUT_EFFECT, *(OF_THE_POINT if is_point else ())}
    values = run.to_dict()
    engine, task = values.pop("engine"), values.pop("task")
    options = {f"--{key}": value for part in values.values() for key, value in part.items() if key not in left_out}
    found = {"task": task, "number of processes": processes, "--ds_config": engine, **options}
    return dict(json.loads(json.dumps(found)))


def refuse_other_run(where: str, found: Mapping[str, Any], wanted: Mapping[str, Any], remedy: str) -> None:
    """Raise UserError when `where` belongs to a run with other options, naming them."""
    names = [name for name in {**found, **wanted} if found.get(name) != wanted.get(name)]
    if names:
        first = names[0]
        more = f" (and {', '.join(names[1:4])})" if len(names) > 1 else ""
        raise UserError(
            f"{where} belongs to a run with another {first}{more}: {found.get(first, 'the default')}, now "
            f"{wanted.get(first, 'the default')}; {remedy}."
        )
