"""The best model of a grid, in the output folder, while several processes look for a better one.

A trial that beats all finished ones writes its model to a folder of its own. When the study has its score, the model of
the study's best trial moves into the output folder. A kill at any moment leaves either that to be done, which the next
trial or the next start does, or a trial that is trained again.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from uer_ds.config.trials import Point
from uer_ds.finetune.result import HUGGINGFACE_FOLDER, TASK_FILE
from uer_ds.finetune.study import DONE, PRUNED, RUNNING, Study
from uer_ds.storage.files import read_json_object, write_json

TRIAL_FILE = "trial.json"
PREFIX = "trial-"
MUTEX_NAME = ".best.lock"
"""Held for moments by processes that share a study; not the lock of a run, which lasts as long as it."""


def trial_folder(output: Path, number: int) -> Path:
    """Where a trial works, and leaves its model if it is the best so far."""
    return output / f"{PREFIX}{number}"


def write_trial(folder: Path, study: str, number: int, point: Point, scores: Mapping[str, float]) -> None:
    """Say beside a model which trial made it."""
    write_json(folder / TRIAL_FILE, {"study": study, "trial": number, **asdict(point), "scores": dict(scores)})


def holds_trial(output: Path, study: str, number: int) -> bool:
    """Whether the model in `output` is that of this trial."""
    path = output / TRIAL_FILE
    if not (output / TASK_FILE).is_file() or not path.is_file():
        return False
    said = read_json_object(path)
    return bool((said.get("study"), said.get("trial")) == (study, number))


def keep_best(output: Path, study: Study) -> None:
    """Put the model of the study's best trial into `output` if it lies here; remove the folders of ended trials."""
    with _locked(output / MUTEX_NAME):
        rows, best = study.rows(), study.best()
        if best and (trial_folder(output, best.number) / TASK_FILE).is_file():
            _move(trial_folder(output, best.number), output)
        quiet = not any(row.state == RUNNING for row in rows)
        ended = {trial_folder(output, row.number).name for row in rows if row.state in (DONE, PRUNED)}
        for folder in output.glob(f"{PREFIX}*"):
            if quiet or folder.name in ended:
                shutil.rmtree(folder, ignore_errors=True)


def _move(folder: Path, output: Path) -> None:
    """Every file of `folder` into `output`; the description goes first and comes last, since it marks a whole model."""
    (output / TASK_FILE).unlink(missing_ok=True)
    shutil.rmtree(output / HUGGINGFACE_FOLDER, ignore_errors=True)  # of an earlier search
    for path in sorted(folder.iterdir(), key=lambda path: path.name == TASK_FILE):
        target = output / path.name
        if target.is_dir():
            shutil.rmtree(target)
        os.replace(path, target)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process at a time inside the `with` block. The lock ends with its process."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
