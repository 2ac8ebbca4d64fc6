"""Stacking: gradient-boosted trees (LightGBM) learn from several models' probabilities. N rows, F features, K classes.

Starting parameters and ranges of the search are UER-py's. The number of rounds is chosen by the folds, and the final
trees see all rows: the test data chooses nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uer_ds.config.trials import StackConfig
from uer_ds.engine.cores import cores_here
from uer_ds.errors import UserError
from uer_ds.finetune.metrics import classification_scores, needed
from uer_ds.finetune.output import prediction_file
from uer_ds.finetune.rows import read_rows
from uer_ds.finetune.task import Classes
from uer_ds.finetune.tasks.classifier import labels_from
from uer_ds.storage.files import read_json_object, write_json

Features = NDArray[np.float32]
Integers = NDArray[np.int64]

PARAMETERS: dict[str, Any] = {
    "feature_fraction": 0.25,
    "lambda_l1": 5.0,
    "lambda_l2": 5.0,
    "learning_rate": 0.02,
    "max_depth": 100,
    "min_data_in_leaf": 50,
    "num_leaves": 10,
}
RANGES: dict[str, tuple[float, float]] = {
    "num_leaves": (10, 100),
    "min_data_in_leaf": (10, 100),
    "learning_rate": (0.005, 0.5),
    "feature_fraction": (0.001, 0.5),
    "lambda_l1": (0.0, 10.0),
    "lambda_l2": (0.0, 10.0),
    "max_depth": (3, 200),
}
NUMBERS_A_THREAD = 100_000
"""Features below which a thread costs more than it does: its waiting is busy, and on cores that others use too it made
seconds into minutes."""

ROUNDS, PATIENCE = 2000, 50
"""Trees at most, and how many without a better score of the folds end the training."""


def read_features(paths: Sequence[str], models_num: int | None, part: str, rows: int, of: str) -> Features:
    """All models' probabilities side by side, [N, F].

    `models_num`: `paths` is UER-py's one prefix, and files are PREFIX + `part`_features_I.npy. Raises UserError for
    files that are no arrays of `rows` rows, which is what the data file `of` has.
    """
    if models_num is not None:
        if len(paths) != 1:
            raise UserError(f"--models_num is for one prefix, but --{part}_features_path names {len(paths)} files.")
        paths = [f"{paths[0]}{part}_features_{number}.npy" for number in range(models_num)]
    found = [_read(path) for path in paths]
    for path, array in zip(paths, found, strict=True):
        if len(array) != rows:
            raise UserError(f"{path}: has {len(array):,} rows, but {of} has {rows:,}; one for each is needed.")
    return np.concatenate(found, axis=1)


def _read(path: str) -> Features:
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as a numpy file ({error}).") from error
    if array.ndim != 2 or array.dtype.kind not in "fiu" or not np.isfinite(array).all():
        shape = getattr(array, "shape", ())
        raise UserError(f"{path}: holds {shape} of {array.dtype}; expected finite numbers [rows, classes].")
    return array.astype(np.float32)


@dataclass(frozen=True)
class Training:
    """What the trees learn from: features [N, F], classes [N] below `classes_num`, folds, and the seed of all draws."""

    features: Features
    classes: Integers
    classes_num: int
    folds: list[tuple[Integers, Integers]]
    seed: int

    def parameters(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Of LightGBM: several classes, the same trees at every run."""
        fixed = {"objective": "multiclass", "num_class": self.classes_num, "verbosity": -1}
        threads = max(1, min(cores_here(), self.features.size // NUMBERS_A_THREAD))
        return {
            **given,
            **fixed,
            "seed": self.seed,
            "deterministic": True,
            "force_row_wise": True,
            "num_threads": threads,
        }


def make_training(features: Features, classes: Integers, classes_num: int, folds_num: int, seed: int) -> Training:
    """Folds with like shares of classes. Raises UserError where a class has fewer rows than there are folds."""
    with needed("scikit-learn", "stacking needs"):
        from sklearn.model_selection import StratifiedKFold
    counts = np.bincount(classes, minlength=classes_num)
    if counts[counts > 0].min() < folds_num:
        raise UserError(
            f"--folds_num is {folds_num}, but a class has only {counts[counts > 0].min()} rows; give at most as many."
        )
    folds = list(StratifiedKFold(folds_num, shuffle=True, random_state=seed).split(features, classes))
    return Training(features, classes, classes_num, folds, seed)


def judge(training: Training, given: Mapping[str, Any]) -> tuple[float, int]:
    """Mean macro F1 over the folds, each judged by trees that have not seen it; and the mean number of rounds."""
    lightgbm = _lightgbm()
    from sklearn.metrics import f1_score

    scores, rounds = [], []
    for seen, held in training.folds:
        own = lightgbm.Dataset(training.features[seen], training.classes[seen])
        other = lightgbm.Dataset(training.features[held], training.classes[held], reference=own)
        stop = lightgbm.early_stopping(PATIENCE, verbose=False)
        trees = lightgbm.train(training.parameters(given), own, ROUNDS, valid_sets=[other], callbacks=[stop])
        answers = trees.predict(training.features[held], num_iteration=trees.best_iteration).argmax(1)
        scores.append(float(f1_score(training.classes[held], answers, average="macro")))
        rounds.append(max(1, trees.best_iteration))
    return float(np.mean(scores)), round(float(np.mean(rounds)))


def search(training: Training, trials_num: int) -> dict[str, Any]:
    """The best of `trials_num` settings, UER-py's first, then what optuna proposes; says each improvement."""
    with needed("optuna", "a search needs"):
        import optuna
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=training.seed))
    study.enqueue_trial(PARAMETERS)

    def value(trial: Any) -> float:
        given = {
            name: trial.suggest_int(name, low, high) if isinstance(low, int) else trial.suggest_float(name, low, high)
            for name, (low, high) in RANGES.items()
        }
        return judge(training, given)[0]

    def say(study: Any, trial: Any) -> None:
        if study.best_trial.number == trial.number:
            print(f"trial {trial.number + 1} of {trials_num}: macro F1 {trial.value:.4f}, the best so far", flush=True)

    study.optimize(value, n_trials=trials_num, callbacks=[say])
    return dict(study.best_params)


def predict(training: Training, given: Mapping[str, Any], rounds: int, features: Features) -> Features:
    """Probabilities [n, K] by trees that have seen all of the training data."""
    lightgbm = _lightgbm()
    own = lightgbm.Dataset(training.features, training.classes)
    trees = lightgbm.train(training.parameters(given), own, rounds)
    found: Features = np.asarray(trees.predict(features), dtype=np.float32)
    return found


def read_parameters(values: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """UER-py's parameters with those of a file over them. Raises UserError for others and for what is no number."""
    for name, value in values.items():
        if name not in PARAMETERS or isinstance(value, bool) or not isinstance(value, (int, float)):
            raise UserError(f"{path}: {name} is {value!r}; expected numbers for {', '.join(PARAMETERS)}.")
    return {**PARAMETERS, **values}


def _lightgbm() -> Any:
    with needed("lightgbm", "stacking needs"):
        import lightgbm
    return lightgbm


# -- the whole of it ---------------------------------------------------------------------------------------------------


def stack(config: StackConfig) -> None:
    """Choose parameters and rounds, and predict the test data where there is some."""
    training, labels = _training(config)
    given = _parameters(config, training)
    score, rounds = judge(training, given)
    print(f"{config.folds_num} folds: macro F1 {score:.4f}, {rounds} rounds", flush=True)
    if config.test_path:
        _predict(config, training, labels, given, rounds)


def _training(config: StackConfig) -> tuple[Training, Classes]:
    path = str(config.train_path)
    rows = [(row.text("label"), f"{path}: line {row.number}") for row in read_rows(path, ["label"]) if not row.empty]
    labels = labels_from(rows, by_name=not all(label.isdecimal() for label, _ in rows))
    if config.labels_num is not None and config.labels_num != len(labels):
        raise UserError(f"--labels_num is {config.labels_num}, but {path} has {len(labels)} classes.")
    features = read_features(config.train_features_path, config.models_num, "train", len(rows), path)
    classes = np.array([labels.number(label) for label, _ in rows], dtype=np.int64)
    return make_training(features, classes, len(labels), config.folds_num, config.seed), labels


def _parameters(config: StackConfig, training: Training) -> dict[str, Any]:
    """UER-py's, those of the file, or what a search finds, which is kept in the file."""
    path = Path(config.params_path) if config.params_path else None
    if not config.trials_num:
        return read_parameters(read_json_object(path), path) if path else dict(PARAMETERS)
    found = search(training, config.trials_num)
    print(json.dumps(found))
    if path:
        write_json(path, found)
    return found


def _predict(config: StackConfig, training: Training, labels: Classes, given: Mapping[str, Any], rounds: int) -> None:
    """Predict the test data, and score it where it has labels."""
    path = str(config.test_path)
    rows = [row for row in read_rows(path, []) if not row.empty]
    features = read_features(config.test_features_path, config.models_num, "test", len(rows), path)
    if features.shape[1] != training.features.shape[1]:
        raise UserError(
            f"--test_features_path has {features.shape[1]} columns in all, --train_features_path "
            f"{training.features.shape[1]}; give the same models in the same order."
        )
    answers = predict(training, given, rounds, features)
    found = answers.argmax(1)
    if config.prediction_path:
        with prediction_file(Path(config.prediction_path), ("label", "prob")) as file:
            file.write((labels.names[number], row.tolist()) for number, row in zip(found, answers, strict=True))
    if rows and "label" in rows[0].values:
        right = [labels.number(row.text("label")) for row in rows]
        print("\n".join(classification_scores(found.tolist(), right, labels.names).lines))
