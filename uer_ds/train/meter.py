"""`Meter`: sums and counts of the updates since the last report, over all ranks, divided once.

What it adds in a step is a few device scalars; the host reads them when a report or a checkpoint is due. Rows are kept
per update and added in update order in float64, so a resumed run reports the same digits as one that never stopped.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor

from uer_ds.data.batch import Terms
from uer_ds.engine.group import Group

T = TypeVar("T")

SKIPPED = "skipped"
"""The last pair of a row: whether the update was skipped, and 1. All ranks know it, so it is not summed."""


def means(totals: dict[str, tuple[float, float]]) -> dict[str, float]:
    """Sums and counts by term name -> `loss`, `accuracy` and, when there are several, `loss_mlm`, `accuracy_sp`, ...

    The loss is the sum of the terms' means (UER-py's rule); the accuracy is that of the first term.
    """
    ratio = {name: total / count if count else float("nan") for name, (total, count) in totals.items()}
    losses = {name: value for name, value in ratio.items() if name.startswith("loss_")}
    accuracies = {name: value for name, value in ratio.items() if name.startswith("accuracy_")}
    result = {"loss": sum(losses.values())}
    if accuracies:
        result["accuracy"] = next(iter(accuracies.values()))
    if len(losses) > 1:
        result.update(losses)
        result.update(accuracies)
    return result


def add_terms(left: Terms | None, right: Terms) -> Terms:
    """Sum of two micro-batches' terms, detached."""
    if left is None:
        return {name: (total.detach(), count.detach()) for name, (total, count) in right.items()}
    return {n: (left[n][0] + total.detach(), left[n][1] + count.detach()) for n, (total, count) in right.items()}


@dataclass
class Meter:
    """Losses, accuracies and rates between two reports.

    `rows` are finished updates, summed over all ranks: [sum, count, sum, count, ...] in the order of `names`.
    Collective methods: `flush`, `averages`.
    """

    names: list[str] = field(default_factory=list)
    rows: list[list[float]] = field(default_factory=list)
    _pending: list[Tensor] = field(default_factory=list)
    _skipped: list[float] = field(default_factory=list)
    _tokens: int = 0
    _updates: int = 0
    _waited: float = 0.0
    _paused: float = 0.0
    _clock: float = field(default_factory=time.perf_counter)

    def add(self, terms: Terms, tokens: int, skipped: bool = False) -> None:
        """One update of this rank; `tokens` counts the real tokens of all ranks. A skipped one is only counted."""
        self.names = [*terms, SKIPPED]
        scalars = [scalar.to(torch.float64) for pair in terms.values() for scalar in pair]
        if skipped:
            scalars = [torch.zeros_like(scalar) for scalar in scalars]
        self._pending.append(torch.stack(scalars))
        self._skipped.append(float(skipped))
        self._tokens += tokens
        self._updates += 1

    def flush(self, group: Group) -> None:
        """Bring this window's device scalars to the host and sum them over ranks."""
        if self._pending:
            sums = group.sum(torch.stack(self._pending)).tolist()
            self.rows += [[*row, skipped, 1.0] for row, skipped in zip(sums, self._skipped, strict=True)]
            self._pending, self._skipped = [], []

    def averages(self, group: Group) -> dict[str, float]:
        """Means over the window; tokens per second and seconds per update since training began or went on here.

        `seconds` of the window; `seconds_for_data`: of these, in which the loader had nothing ready; `seconds_paused`:
        beside these, since the last report, for evaluations and checkpoints.

        Starts the next window.
        """
        self.flush(group)
        columns = [sum(column) for column in zip(*self.rows, strict=True)]
        totals = {name: (columns[2 * i], columns[2 * i + 1]) for i, name in enumerate(self.names)}
        skipped, _ = totals.pop(SKIPPED)
        now = time.perf_counter()
        seconds = now - self._clock
        rate = self._tokens / seconds if seconds > 0 else 0.0
        per_update = seconds / max(1, self._updates)
        self.rows, self._tokens, self._updates, self._clock = [], 0, 0, now
        rates = {"tokens_per_second": rate, "seconds_per_update": per_update, "seconds": seconds}
        rates |= {"seconds_for_data": self._waited, "seconds_paused": self._paused}
        self._waited, self._paused = 0.0, 0.0
        return {**means(totals), "skipped_updates": int(skipped), **rates}

    def start(self) -> None:
        """Training begins now: what was before (loading, a first evaluation) is no part of the rate."""
        self._clock = time.perf_counter()

    def pause(self, seconds: float) -> None:
        """Leave out time that was not training: an evaluation, a checkpoint."""
        self._clock += seconds
        self._paused += seconds

    def waiting(self, updates: Iterable[T]) -> Iterator[T]:
        """The same, while the time until each of them is there is counted."""
        iterator = iter(updates)
        while True:
            began = time.perf_counter()
            try:
                update = next(iterator)
            except StopIteration:
                return
            self._waited += time.perf_counter() - began
            yield update
