"""Cross-validation: each fold of the training file is held out once, and the model of the others answers it.

The answers, probabilities in the order of the file, are features for a next model; those of the folds' models for
another file are averaged. A fold that is finished lies whole in a folder of its own, so an interrupted run goes on with
the next one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from uer_ds.config.finetune import FinetuneRun, PredictRun
from uer_ds.config.trials import CvRun, fold_path, identity, refuse_other_run
from uer_ds.engine import distributed
from uer_ds.engine.group import Group
from uer_ds.errors import UserError
from uer_ds.finetune.infer import Predictor
from uer_ds.finetune.last_epoch import LastEpoch, Watch
from uer_ds.finetune.material import Material, read_material
from uer_ds.finetune.task import Classes, Pair, Task, Wanted
from uer_ds.finetune.trainer import EarlyStop, score_table
from uer_ds.launch.place import Place
from uer_ds.storage.files import read_json_object, write_json
from uer_ds.train.output import output_folder
from uer_ds.train.stopping import REQUEUE

FOLD_FILE = "fold.json"
HELD_OUT_FILE = "held_out.npy"

Probabilities = NDArray[np.float32]


def fold_bounds(rows: int, folds: int) -> list[tuple[int, int]]:
    """First row and end of each fold: floor(rows / folds) + 1 rows, as in UER-py, and the rest in the last one.

    Where that leaves nothing for the last, the folds are equal within one row. Raises UserError for fewer rows than
    folds.
    """
    if rows < folds:
        raise UserError(f"--folds_num is {folds}, but the training file has {rows} examples; give at most as many.")
    size = rows // folds + 1
    if size * (folds - 1) < rows:
        return [(fold * size, min(rows, (fold + 1) * size)) for fold in range(folds)]
    return [(rows * fold // folds, rows * (fold + 1) // folds) for fold in range(folds)]


def probabilities(task: Task, pairs: Iterable[Pair], labels: Classes) -> Probabilities:
    """What a prediction file would hold in its column prob: [rows, classes]."""
    wanted = Wanted(prob=True)
    column = task.columns(wanted).index("prob")
    found = np.array([record[column] for record in task.records(pairs, labels, wanted)], dtype=np.float32)
    return found.reshape(-1, len(labels))


# -- training ----------------------------------------------------------------------------------------------------------


def cross_validate(run: CvRun, tokenizer_given: bool, place: Place) -> int:
    """Train the folds' models as the process `place`; returns the exit status."""
    wish = EarlyStop()
    with wish.listening(), distributed.joined(place) as group:
        material = read_material(run.base, tokenizer_given, dev=False)
        return 0 if CrossValidation(run, material, group, wish).run_all() else REQUEUE


class CrossValidation:
    """One cross-validation, on one rank: every method is collective, but those that only rank 0 calls."""

    def __init__(self, run: CvRun, material: Material, group: Group, wish: EarlyStop):
        self.run, self.material, self.group, self.wish = run, material, group, wish
        self.output = run.base.paths.output_model_path
        self.bounds = fold_bounds(len(material.train), run.cv.folds_num)
        rows = {"number of folds": run.cv.folds_num, "number of examples": len(material.train)}
        self.identity = {**identity(run.base, group.place.world_size), **rows}

    def run_all(self) -> bool:
        """Train what is missing and write the features; False when told to stop."""
        for fold in range(len(self.bounds)):
            if not self.group.on_first(lambda fold=fold: self._is_done(fold)) and not self._train(fold):  # type: ignore[misc]
                return False
        self.group.on_first(self._write)
        return True

    def _folder(self, fold: int) -> Path:
        return Path(fold_path(self.output, fold))

    def _is_done(self, fold: int) -> bool:
        """Whether a fold lies there whole. Raises UserError when it belongs to a run with other options."""
        path = self._folder(fold) / FOLD_FILE
        if not path.is_file():
            return False
        remedy = "give another --output_model_path, or delete the folders of the folds"
        refuse_other_run(str(path.parent), read_json_object(path)["run"], self.identity, remedy)
        print(f"fold {fold}: done already, in {path.parent}", flush=True)
        return True

    def _train(self, fold: int) -> bool:
        begin, end = self.bounds[fold]
        examples = self.material.train
        material = self.material.split(examples[:begin] + examples[end:], examples[begin:end])
        watch = Watch(f"fold {fold}: rows {begin + 1} to {end} are held out", introduce=fold == 0)
        with output_folder(str(self._folder(fold)), self.group) as folder:
            training = LastEpoch(self._run_of(fold), material, self.group, self.wish, folder, watch)
            try:
                done = training.train()
                if done:
                    self.group.on_first(lambda: self._finish_fold(training, folder))
            finally:
                training.engine.close()
        return done

    def _run_of(self, fold: int) -> FinetuneRun:
        paths = self.run.base.paths
        board = paths.tensorboard_dir and str(Path(paths.tensorboard_dir) / f"fold_{fold}")
        return replace(self.run.base, paths=replace(paths, tensorboard_dir=board))

    def _finish_fold(self, training: LastEpoch, folder: Path) -> None:
        """The held-out answers, and last the mark that the fold is whole."""
        material = training.material
        pairs = zip(material.dev, training.outputs or [], strict=True)
        np.save(folder / HELD_OUT_FILE, probabilities(material.task, pairs, material.labels))
        write_json(folder / FOLD_FILE, {"run": self.identity, "scores": dict(training.scores.values)})

    def _write(self) -> None:
        """Features of all folds, and their scores with the means."""
        folders = [self._folder(fold) for fold in range(len(self.bounds))]
        path = self.run.cv.train_features_path
        save_features(path, np.concatenate([np.load(folder / HELD_OUT_FILE) for folder in folders]))
        scores = {f"fold {number}": read_json_object(f / FOLD_FILE)["scores"] for number, f in enumerate(folders)}
        names = list(scores["fold 0"])
        mean = {name: sum(values[name] for values in scores.values()) / len(scores) for name in names}
        print("\n".join(["", *score_table({**scores, "mean": mean})]))
        said = {"accuracy": "Acc.", "macro_f1": "Macro F1"}
        print("\n".join(f"{said.get(name, name)}: {value:.4f}" for name, value in mean.items()), flush=True)


def save_features(path: str, features: Probabilities) -> None:
    """Write a numpy file (with the ending .npy, which numpy adds where it is missing)."""
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        np.save(path, features)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); choose another path.") from error
    print(f"{path}: probabilities, {features.shape[0]:,} rows x {features.shape[1]} classes", flush=True)


# -- prediction --------------------------------------------------------------------------------------------------------


def predict_by_folds(runs: Sequence[PredictRun], output: str, tokenizer_given: bool, place: Place) -> int:
    """Write the mean of all models' probabilities; returns the exit status."""
    with distributed.joined(place) as group:
        total: Probabilities | None = None
        for run in runs:
            found = _answers(run, tokenizer_given, group)
            if total is not None and total.shape != found.shape:
                raise UserError(
                    f"{run.paths.load_model_path}: answers {found.shape[1]} classes, the folds before it "
                    f"{total.shape[1]}; expected the models of one cross-validation."
                )
            total = found if total is None else total + found
        if total is not None and place.is_first:
            save_features(output, total / np.float32(len(runs)))
    return 0


def _answers(run: PredictRun, tokenizer_given: bool, group: Group) -> Probabilities:
    """One model's probabilities on rank 0, nothing on the others. Collective."""
    predictor = Predictor(run, tokenizer_given)
    pairs = predictor.pairs(Path(run.paths.test_path), group)
    if not group.place.is_first:
        deque(pairs, maxlen=0)  # help with every chunk
        return np.zeros((0, len(predictor.labels)), dtype=np.float32)
    return probabilities(predictor.task, pairs, predictor.labels)
