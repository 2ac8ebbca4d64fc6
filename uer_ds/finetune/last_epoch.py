"""A training whose result is its last epoch: one trial of a grid, one fold of a cross-validation.

UER-py counts these so: no epoch is chosen by the data that the result is measured on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from uer_ds.config.finetune import FinetuneRun
from uer_ds.engine.group import Group
from uer_ds.finetune.material import Material
from uer_ds.finetune.task import Output, Scores
from uer_ds.finetune.trainer import Best, EarlyStop, Finetuner
from uer_ds.train.journal import journal
from uer_ds.train.loop import Progress
from uer_ds.train.stopping import StopWish

HOPELESS = "pruned"


class InnerWish(EarlyStop):
    """A wish to end this training only; it also passes on the wish of the whole process."""

    def __init__(self, outer: StopWish):
        super().__init__()
        self._outer = outer

    def __bool__(self) -> bool:
        return self.reason is not None or bool(self._outer)


@dataclass(frozen=True)
class Watch:
    """What the owner of many trainings does with one, on rank 0.

    Attributes:
        title: what the training is, for people.
        introduce: say model, data and weights, too.
        hopeless: (epoch, metric) after each epoch but the last -> whether to end it now; None: it is not asked.
        worth_keeping: metric after the last epoch -> whether the model is written.
    """

    title: str
    introduce: bool = True
    hopeless: Callable[[int, float], bool] | None = None
    worth_keeping: Callable[[float], bool] = lambda value: True


class LastEpoch(Finetuner):
    """`Finetuner` without a choice of the epoch.

    Attributes:
        scores: of the last evaluation.
        outputs: the head's outputs for the dev examples in that evaluation, on rank 0.
    """

    def __init__(self, run: FinetuneRun, material: Material, group: Group, outer: StopWish, output: Path, watch: Watch):
        super().__init__(run, material, group, InnerWish(outer), output)
        self.watch = watch
        self.scores = Scores({})
        self.outputs: list[Output] | None = None

    @property
    def value(self) -> float:
        """The metric in the last evaluation."""
        return self.scores.values[self.material.task.metric]

    @property
    def _evaluation_period(self) -> int:
        return self.updates_per_epoch if self.watch.hopeless else 0

    def train(self) -> bool:
        """Train all epochs; returns False when it was told to end before."""
        paths, configuration = self.run.paths, self.run.to_dict()
        board = Path(paths.tensorboard_dir or self.output / "tensorboard")
        with journal(self.group, self.output, board, self.total_updates, 0, configuration, paths.log_path) as opened:
            self.journal = opened
            opened.say(["", self.watch.title, *(self._introduction(board) if self.watch.introduce else ())])
            return self._train_epochs()

    def _evaluate(self, progress: Progress) -> None:
        dev = self.material.dev
        self.outputs = self._outputs(dev)
        self.scores = self._scored(dev, self.outputs)
        self._say_scores(self.scores, f"dev, {self._epoch(progress.updates)}", False)
        self._record(self.scores, "dev")
        if progress.updates == self.total_updates:
            self._keep_last(progress)
        elif self.group.place.is_first and self._is_hopeless(-(-progress.updates // self.updates_per_epoch)):
            self.wish.wish(HOPELESS)  # all ranks agree before the next update

    def _is_hopeless(self, epoch: int) -> bool:
        return self.watch.hopeless is not None and self.watch.hopeless(epoch, self.value)

    def _keep_last(self, progress: Progress) -> None:
        self.best = Best(self.value, dict(self.scores.values), progress.updates)
        if self.group.on_first(lambda: self.watch.worth_keeping(self.value)):
            self._keep()
