"""Stacking: gradient-boosted trees (LightGBM) learn from several models' probabilities. N rows, F features, K classes.

Starting parameters and ranges of the search are UER-py's. The number of rounds is chosen by the folds, and the final
trees see all rows: the test data chooses nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uer_ds.errors import UserError
from uer_ds.finetune.metrics import needed

Features = NDArray[np.float32]
Classes = NDArray[np.int64]

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
    classes: Classes
    classes_num: int
    folds: list[tuple[Classes, Classes]]
    seed: int

    def parameters(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Of LightGBM: several classes, the same trees at every run."""
        fixed = {"objective": "multiclass", "num_class": self.classes_num, "verbosity": -1}
        return {**given, **fixed, "seed": self.seed, "deterministic": True, "force_row_wise": True}


def make_training(features: Features, classes: Classes, classes_num: int, folds_num: int, seed: int) -> Training:
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
