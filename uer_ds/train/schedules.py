"""Learning-rate schedules: pure functions from the number of the update to a factor on the base rate.

Update 0 is the first one. Warm-up lasts `warmup * total_updates` updates, not rounded, so the first update of a run
with warm-up has rate 0 (UER-py's way). Nothing is remembered, so a resumed run continues on the same curve.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from uer_ds.config.run import OptimConfig

FINAL_RATE = 1e-7
"""The rate at which `polynomial` and `inverse_sqrt` end, whatever the base rate."""

INITIAL_SHARE, FINAL_SHARE = 0.01, 0.05
"""Where `tri_stage` begins and ends, as shares of the base rate."""


@dataclass(frozen=True)
class Course:
    """What a schedule knows of a run: numbers of updates, and the base rate."""

    total: float
    warmup: float
    decay: float
    base_rate: float


def learning_rate(optim: OptimConfig, update: int, total_updates: int) -> float:
    """The rate of update number `update` (from 0) of `total_updates`."""
    warmup, decay = total_updates * optim.warmup, total_updates * optim.lr_decay
    course = Course(total_updates, warmup, decay, optim.learning_rate)
    return optim.learning_rate * SCHEDULES[optim.scheduler](update, course)


def _linear(update: int, course: Course) -> float:
    if update < course.warmup:
        return update / max(1.0, course.warmup)
    return max(0.0, (course.total - update) / max(1.0, course.total - course.warmup))


def _cosine(update: int, course: Course) -> float:
    if update < course.warmup:
        return update / max(1.0, course.warmup)
    return max(0.0, 0.5 * (1.0 + math.cos(math.pi * _progress(update, course))))


def _cosine_with_restarts(update: int, course: Course) -> float:
    """One cycle, as UER-py uses it; over afterwards."""
    if update < course.warmup:
        return update / max(1.0, course.warmup)
    return 0.0 if _progress(update, course) >= 1.0 else _cosine(update, course)


def _polynomial(update: int, course: Course) -> float:
    if update < course.warmup:
        return update / max(1.0, course.warmup)
    if update > course.total:
        return FINAL_RATE / course.base_rate
    remaining = 1.0 - _progress(update, course)
    return ((course.base_rate - FINAL_RATE) * remaining + FINAL_RATE) / course.base_rate


def _constant(update: int, course: Course) -> float:
    return 1.0


def _constant_with_warmup(update: int, course: Course) -> float:
    return update / max(1.0, course.warmup) if update < course.warmup else 1.0


def _inverse_sqrt(update: int, course: Course) -> float:
    if update < course.warmup:
        return update / course.warmup
    if update > course.total:
        return FINAL_RATE / course.base_rate
    return math.sqrt(course.warmup / update)


def _tri_stage(update: int, course: Course) -> float:
    """Up linearly, level, then down exponentially over the last `decay` updates."""
    if update < course.warmup:
        return INITIAL_SHARE + (1.0 - INITIAL_SHARE) * update / course.warmup
    into_decay = update - (course.total - course.decay)
    if into_decay < 0 or course.decay == 0:
        return 1.0
    return max(FINAL_SHARE, math.exp(math.log(FINAL_SHARE) * into_decay / course.decay))


def _progress(update: int, course: Course) -> float:
    """Share of the updates after warm-up that are done."""
    return (update - course.warmup) / max(1.0, course.total - course.warmup)


SCHEDULES: dict[str, Callable[[int, Course], float]] = {
    "linear": _linear,
    "cosine": _cosine,
    "cosine_with_restarts": _cosine_with_restarts,
    "polynomial": _polynomial,
    "constant": _constant,
    "constant_with_warmup": _constant_with_warmup,
    "inverse_sqrt": _inverse_sqrt,
    "tri_stage": _tri_stage,
}
