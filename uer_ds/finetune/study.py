"""`Study`: the points of a grid as the trials of an optuna study, shared by any number of processes and machines.

Each point is trained once. Whoever looks for work queues the points that have no living trial: that fills an empty
study, and it takes up what a killed process left behind. Two may queue the same point at the same moment; then the
trial with the lower number counts, and the other is dropped unseen. A process shows that it lives by a beat in the
database.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from uer_ds.config.trials import Point, refuse_other_run
from uer_ds.finetune.metrics import needed
from uer_ds.finetune.study_storage import open_storage

BEAT_SECONDS = 4
GRACE_SECONDS = 20
"""A trial without a beat for so long belongs to a process that has died, or a machine that was cut off."""

DONE, PRUNED, RUNNING, WAITING, FAILED = "done", "pruned", "running", "waiting", "failed"


@dataclass(frozen=True)
class Row:
    """What a study knows about a point. `place`: the host and output folder of the process that trained it."""

    number: int
    point: Point
    state: str
    value: float | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    seconds: float | None = None
    place: str = ""
    ended: datetime | None = None


def _merit(row: Row) -> tuple[float, float]:
    """By value, and among equals by earlier end."""
    assert row.value is not None and row.ended
    return row.value, -row.ended.timestamp()


class Beat:
    """Tells the database every few seconds that a trial's process lives; starts at once."""

    def __init__(self, storage: Any, trial_id: int):
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(storage, trial_id), daemon=True)
        self._thread.start()

    def _run(self, storage: Any, trial_id: int) -> None:
        while not self._stopped.wait(BEAT_SECONDS):
            with suppress(Exception):  # a database that is away for a moment: the next beat may reach it
                storage.record_heartbeat(trial_id)

    def stop(self) -> None:
        """The trial is over."""
        self._stopped.set()
        self._thread.join()


@dataclass(frozen=True)
class Taken:
    """A trial that belongs to this process."""

    number: int
    point: Point
    trial: Any
    beat: Beat


class Study:
    """One study, seen by one process, which has at most one trial at a time."""

    def __init__(self, url: str, name: str, place: str = ""):
        with needed("optuna"):
            import optuna
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.name, self.place = name, place
        self._optuna = optuna
        self._storage = open_storage(url, BEAT_SECONDS, GRACE_SECONDS)
        self._study = optuna.create_study(
            storage=self._storage,
            study_name=name,
            direction="maximize",
            sampler=optuna.samplers.RandomSampler(),  # never asked: every trial is a point of the grid
            pruner=optuna.pruners.MedianPruner(),
            load_if_exists=True,
        )
        self._id = self._storage.get_study_id_from_name(name)
        self._taken: Taken | None = None

    def check_same(self, run: Mapping[str, Any]) -> None:
        """Raise UserError when the study's trials were made by a run with other options."""
        if "run" not in self._study.user_attrs:
            self._study.set_user_attr("run", dict(run))
        remedy = "give another --study_name or --output_model_path"
        refuse_other_run(f"study {self.name!r}", self._study.user_attrs["run"], run, remedy)

    # -- taking --------------------------------------------------------------------------------------------------------

    def take(self, points: Sequence[Point], avoid: Set[Point] = frozenset()) -> Taken | None:
        """The next of `points` that nobody has trained or is training; None when there is none now."""
        self._fail_dead()
        living = self._living()
        for point in points:
            if point not in living and point not in avoid:
                values = vars(point)
                self._study.enqueue_trial(dict(values), user_attrs={"point": dict(values)})
        wanted = set(points) - avoid
        for trial in self._trials():
            found = point_of(trial)
            if found and found in wanted and trial.state.name == "WAITING" and self._claim(trial.number):
                self._taken = self._begin(trial.number, found)
                if self._living()[found] == trial.number:
                    return self._taken
                self.give_up()  # queued twice at the same moment: the first one counts
        return None

    def _claim(self, number: int) -> bool:
        """Make a waiting trial ours, unless another process is quicker."""
        trial_id = self._trial_id(number)
        self._storage.record_heartbeat(trial_id)  # before the claim: what is killed in between must become stale, too
        with suppress(self._optuna.exceptions.UpdateFinishedTrialError):
            return bool(self._storage.set_trial_state_values(trial_id, self._optuna.trial.TrialState.RUNNING))
        return False

    def _begin(self, number: int, point: Point) -> Taken:
        trial_id = self._trial_id(number)
        trial = self._optuna.trial.Trial(self._study, trial_id)
        trial.set_user_attr("place", self.place)
        trial.suggest_int("batch_size", point.batch_size, point.batch_size)
        trial.suggest_float("learning_rate", point.learning_rate, point.learning_rate, log=True)
        trial.suggest_int("epochs_num", point.epochs_num, point.epochs_num)
        return Taken(number, point, trial, Beat(self._storage, trial_id))

    def busy(self, points: Sequence[Point]) -> bool:
        """Whether other processes train some of `points` now."""
        self._fail_dead()
        return any(trial.state.name == "RUNNING" and point_of(trial) in points for trial in self._trials())

    def _fail_dead(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "experimental"
            self._optuna.storages.fail_stale_trials(self._study)

    # -- telling -------------------------------------------------------------------------------------------------------

    def hopeless(self, epoch: int, value: float) -> bool:
        """Report the metric after an epoch; whether the trial is below the median of the others, or no longer ours."""
        assert self._taken
        with suppress(self._optuna.exceptions.UpdateFinishedTrialError):
            self._taken.trial.report(value, epoch)
            return bool(self._taken.trial.should_prune())
        return True

    def complete(self, value: float, scores: Mapping[str, float]) -> bool:
        """The trial is done; False when it was given to another process in the meantime."""
        return self._tell("COMPLETE", value if value == value else float("-inf"), scores)

    def prune(self) -> bool:
        """The trial was ended since others are better."""
        return self._tell("PRUNED")

    def give_up(self) -> None:
        """Hand the trial back, if there is one: another process, or another day, will train its point."""
        if self._taken:
            self._tell("FAIL")

    def _tell(self, state: str, value: float | None = None, scores: Mapping[str, float] | None = None) -> bool:
        taken, self._taken = self._taken, None
        assert taken
        taken.beat.stop()
        try:
            if scores is not None:
                taken.trial.set_user_attr("scores", dict(scores))
            self._study.tell(taken.number, value, state=self._optuna.trial.TrialState[state])
        except (ValueError, self._optuna.exceptions.UpdateFinishedTrialError):
            return False
        return True

    # -- knowing -------------------------------------------------------------------------------------------------------

    def rows(self) -> list[Row]:
        """One row for each point, in the order of the trials' numbers."""
        found: dict[Point, Row] = {}
        for trial in self._trials():
            point = point_of(trial)
            if point is not None and (point not in found or found[point].state == FAILED):
                found[point] = row_of(trial, point)
        return sorted(found.values(), key=lambda row: row.number)

    def best(self) -> Row | None:
        """The best of the finished trials; among equals the one that ended first."""
        done = [row for row in self.rows() if row.state == DONE]
        return max(done, key=_merit, default=None)

    def _living(self) -> dict[Point, int]:
        """Point -> number of the trial that counts."""
        living: dict[Point, int] = {}
        for trial in self._trials():
            point = point_of(trial)
            if point and trial.state.name != "FAIL":
                living.setdefault(point, trial.number)
        return living

    def _trials(self) -> list[Any]:
        return sorted(self._study.get_trials(deepcopy=False), key=lambda trial: trial.number)

    def _trial_id(self, number: int) -> int:
        return int(self._storage.get_trial_id_from_study_id_trial_number(self._id, number))


STATES = {"COMPLETE": DONE, "PRUNED": PRUNED, "RUNNING": RUNNING, "WAITING": WAITING, "FAIL": FAILED}


def point_of(trial: Any) -> Point | None:
    """The point of an optuna trial; None for a trial that is none of ours."""
    values = trial.user_attrs.get("point")
    return Point(**values) if values else None


def row_of(trial: Any, point: Point) -> Row:
    """What an optuna trial tells."""
    ended = trial.datetime_complete
    seconds = (ended - trial.datetime_start).total_seconds() if ended and trial.datetime_start else None
    attributes = trial.user_attrs
    state = STATES[trial.state.name]
    value = trial.value if state in (DONE, PRUNED) else None
    scores = attributes.get("scores", {})
    return Row(trial.number, point, state, value, scores, seconds, attributes.get("place", ""), ended)
