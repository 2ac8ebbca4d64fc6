"""What a report shows, as numbers: panels of curves and a table of sums. No drawing here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from statistics import median
from typing import Any

from uer_ds.report.read import Line, RunLog

Point = tuple[float, float]

POINTS = 500
"""Points of a curve at most: more cannot be seen."""

TRAINING = {
    "loss": "Loss",
    "accuracy": "Accuracy",
    "learning_rate": "Learning rate",
    "tokens_per_second": "Tokens per second",
    "grad_norm": "Gradient norm (before clipping)",
    "memory_gb": "Memory of the first process, GB",
    "loss_scale": "Loss scale (float16)",
}
"""Keys of a training report that get a panel, and its title."""

TEST = "test"
"""The part of an evaluation that is looked at once, after the best model was chosen."""

COUNTERS = ("update", "total_updates", "tokens", "samples")


@dataclass(frozen=True)
class Curve:
    """One line. `part`: of an evaluation, drawn with dots; empty for training."""

    run: int
    points: Sequence[Point]
    part: str = ""

    @property
    def held_out(self) -> bool:
        """Of an evaluation."""
        return bool(self.part)


@dataclass(frozen=True)
class Panel:
    """One picture. `resumes` and `skipped`: (run, x); `span`: the ends of the x axis, for all pictures the same."""

    title: str
    curves: Sequence[Curve]
    resumes: Sequence[tuple[int, float]]
    skipped: Sequence[tuple[int, float]]
    span: tuple[float, float]


def panels(runs: Sequence[RunLog], x: str) -> list[Panel]:
    """A panel for every number that at least one run has; `x` is "update" or "tokens"."""
    resumes = [(n, _at(run, update, x)) for n, run in enumerate(runs) for update in run.resumes]
    skipped = [(n, _at(run, update, x)) for n, run in enumerate(runs) for update in run.skipped]
    found = list[tuple[str, list[Curve]]]()
    for key, title in {**TRAINING, **_more(runs)}.items():
        curves = [Curve(n, _points(run.metrics, x, key)) for n, run in enumerate(runs)]
        for n, run in enumerate(runs):
            for part, lines in by_part(run.evaluations).items():
                curves.append(Curve(n, _points(lines, x, key), part))
        kept = [curve for curve in curves if curve.points]
        if kept:
            found.append((title, kept))
    places = [at for _, curves in found for curve in curves for at, _ in curve.points]
    span = 0.0, max([*places, *(at for _, at in (*resumes, *skipped))], default=0.0) or 1.0
    return [Panel(title, curves, resumes, skipped, span) for title, curves in found]


def by_part(evaluations: Sequence[Line]) -> dict[str, list[Line]]:
    """Evaluations of pre-training are of "held-out" data, those of fine-tuning of "dev" or "test"."""
    found: dict[str, list[Line]] = {}
    for line in evaluations:
        found.setdefault(str(line.get("part") or "held-out"), []).append(line)
    return found


def _more(runs: Sequence[RunLog]) -> dict[str, str]:
    """Losses and accuracies by name, and the scores of fine-tuning."""
    names = dict.fromkeys(
        [name for run in runs for line in run.metrics for name in line if name.startswith(("loss_", "accuracy_"))]
        + [name for run in runs for line in run.evaluations for name in line if name not in (*COUNTERS, "part")]
    )
    return {name: name.replace("_", " ").capitalize() for name in names if name not in TRAINING}


def _points(lines: Sequence[Line], x: str, key: str) -> list[Point]:
    found = [(float(line[x]), float(line[key])) for line in lines if _number(line.get(key)) and _number(line.get(x))]
    if len(found) <= POINTS:
        return found
    step = len(found) / (POINTS / 2)
    parts = [found[int(n * step) : int((n + 1) * step)] for n in range(POINTS // 2)]
    value = itemgetter(1)
    return [point for part in parts for point in sorted({min(part, key=value), max(part, key=value)})]


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _at(run: RunLog, update: int, x: str) -> float:
    """Where on the axis an update lies: tokens are taken to grow evenly between two reports."""
    if x == "update":
        return float(update)
    before = {"update": 0, "tokens": 0}
    for line in run.metrics:
        if line["update"] >= update:
            share = (update - before["update"]) / max(1, line["update"] - before["update"])
            return float(before["tokens"] + share * (line.get("tokens", 0) - before["tokens"]))
        before = {"update": line["update"], "tokens": line.get("tokens", 0)}
    return float(before["tokens"])


def time_split(run: RunLog) -> Mapping[str, float]:
    """Seconds of all windows: computing, waiting for data, and evaluations and checkpoints; empty for older runs."""
    total = {"training": 0.0, "waiting for data": 0.0, "evaluating and saving": 0.0}
    for line in run.metrics:
        if not _number(line.get("seconds")):
            continue
        total["waiting for data"] += line["seconds_for_data"]
        total["training"] += line["seconds"] - line["seconds_for_data"]
        total["evaluating and saving"] += line["seconds_paused"]
    return total if any(total.values()) else {}


def summary(run: RunLog) -> dict[str, str]:
    """The run in one column."""
    if not run.metrics:
        return {"updates": "none reported yet"}
    last = run.metrics[-1]
    found = {"updates": f"{last['update']:,} of {last['total_updates']:,}" if "total_updates" in last else ""}
    found["tokens"] = f"{last.get('tokens', 0):,}"
    found["loss"] = f"{_shown(run.metrics[0], 'loss')} → {_shown(last, 'loss')}"
    for part, lines in by_part(run.evaluations).items():
        found |= _scores(part, lines)
    rates = [line["tokens_per_second"] for line in run.metrics if _number(line.get("tokens_per_second"))]
    memory = [line["memory_gb"] for line in run.metrics if _number(line.get("memory_gb"))]
    if rates:
        found["tokens/s (median)"] = f"{median(rates):,.0f}"
    if memory:
        found["memory, most"] = f"{max(memory):.2f} GB"
    split = time_split(run)
    for name, seconds in split.items():
        found[f"time {name}"] = f"{seconds:,.0f} s ({seconds / sum(split.values()):.0%})"
    found["resumed at update"] = ", ".join(f"{update:,}" for update in run.resumes) or "never"
    found["updates skipped"] = str(sum(line.get("skipped_updates", 0) for line in run.metrics))
    return found


def _scores(part: str, lines: Sequence[Line]) -> dict[str, str]:
    """First and best of an evaluation that is repeated; the last of the test."""
    found = {}
    for name in dict.fromkeys(name for line in lines for name in line if name not in (*COUNTERS, "part")):
        values = [line[name] for line in lines if _number(line.get(name))]
        if not values:
            continue
        if part == TEST:
            found[f"{part} {name}"] = f"{values[-1]:.4f}"
        elif name == "loss":
            found[f"{part} loss, first → best"] = f"{values[0]:.4f} → {min(values):.4f}"
        elif "loss" not in name:
            found[f"{part} {name}, best"] = f"{max(values):.4f}"
    return found


def _shown(line: Line, key: str) -> str:
    return f"{line[key]:.4f}" if _number(line.get(key)) else "not finite"
