"""What a grid shows: a line after each trial, a sorted table, `grid.json`, and the picture `grid.png`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from uer_ds.config.trials import GridRun
from uer_ds.finetune.metrics import needed
from uer_ds.finetune.study import DONE, PRUNED, Row, Study
from uer_ds.registry import TASKS
from uer_ds.storage.files import write_json

PANEL_INCHES = (4.2, 3.6)


class News:
    """Says what has become of the trials since it was asked last, by whichever process they were trained."""

    def __init__(self, study: Study, run: GridRun):
        self._study, self._points, self._metric = study, len(run.points), TASKS[run.base.task].metric
        self._said = {row.number for row in study.rows() if row.state in (DONE, PRUNED)}
        if self._said:
            print(f"{len(self._said)} of {self._points} trials are done already", flush=True)

    def tell(self) -> None:
        """A line for each new end of a trial, with the best so far (UER-py prints it, too)."""
        for row in self._study.rows():
            if row.state in (DONE, PRUNED) and row.number not in self._said:
                self._said.add(row.number)
                value = f"{self._metric} {row.value:.4f}" if row.value is not None else ""
                print(
                    f"{row.state} {len(self._said)} of {self._points}: {row.point} | {value} | {row.seconds:.0f} s"
                    f"{self._best_so_far()}",
                    flush=True,
                )

    def _best_so_far(self) -> str:
        best = self._study.best()
        return f" | best so far: {best.point} | {self._metric} {best.value:.4f}" if best else ""


def ranked(rows: Sequence[Row]) -> list[Row]:
    """The best first; then pruned trials, then those without a result."""
    states = {DONE: 0, PRUNED: 1}
    ends = {row.number: row.ended.isoformat() if row.ended else "" for row in rows}
    return sorted(rows, key=lambda row: (states.get(row.state, 2), -(row.value or 0.0), ends[row.number], row.number))


def table(rows: Sequence[Row], metric: str) -> list[str]:
    """One line a point, the best first."""
    head = ["rank", "learning rate", "batch size", "epochs", metric, "seconds", "state"]
    cells = [head]
    for rank, row in enumerate(ranked(rows), 1):
        value = "-" if row.value is None else f"{row.value:.4f}"
        seconds = "-" if row.seconds is None else f"{row.seconds:.0f}"
        point = row.point
        rate, size, epochs = f"{point.learning_rate:g}", str(point.batch_size), str(point.epochs_num)
        cells.append([str(rank), rate, size, epochs, value, seconds, row.state])
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in cells]


def write_table(path: Path, study: Study, metric: str) -> None:
    """`grid.json`: the best trial and all of them, the best first. What is there is whole."""
    best = study.best()
    values = {
        "study": study.name,
        "metric": metric,
        "best": _plain(best) if best else None,
        "trials": [_plain(row) for row in ranked(study.rows())],
    }
    write_json(path, values)


def _plain(row: Row) -> dict[str, Any]:
    values = asdict(row)
    values.update(values.pop("point"), scores=dict(row.scores), ended=row.ended.isoformat() if row.ended else None)
    return values


def draw(path: Path, rows: Sequence[Row], metric: str) -> None:
    """The metric against the learning rate: a line for each batch size, a panel for each number of epochs.

    Pruned trials are crosses at what they had reached; failed ones are missing.
    """
    with needed("matplotlib"):
        from matplotlib.figure import Figure
        from matplotlib.lines import Line2D
        from matplotlib.ticker import NullLocator
    shown = [row for row in rows if row.value is not None]
    if not shown:
        return
    panels = sorted({row.point.epochs_num for row in shown})
    sizes = sorted({row.point.batch_size for row in shown})
    rates = sorted({row.point.learning_rate for row in shown})
    width, height = PANEL_INCHES
    figure = Figure(figsize=(max(5.5, width * len(panels)), height), layout="constrained")
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axis, epochs in zip(axes, panels, strict=True):
        for number, size in enumerate(sizes):
            _draw_line(axis, [r for r in shown if (r.point.epochs_num, r.point.batch_size) == (epochs, size)], number)
        axis.set_xscale("log")
        axis.set_xticks(rates, [f"{rate:g}" for rate in rates], rotation=45 if len(rates) > 4 else 0)
        axis.xaxis.set_minor_locator(NullLocator())
        axis.margins(x=0.08)
        axis.set_title(f"{epochs} epochs" if epochs > 1 else "1 epoch")
        axis.set_xlabel("learning rate")
        axis.grid(alpha=0.3)
    axes[0].set_ylabel(f"{metric} on dev")
    lines = [Line2D([], [], color=f"C{number}", marker="o", label=str(size)) for number, size in enumerate(sizes)]
    figure.legend(handles=lines, title="batch size", loc="outside right upper")
    figure.savefig(path, dpi=150)


def _draw_line(axis: Any, rows: Sequence[Row], number: int) -> None:
    """One batch size of a panel, in the colour `number`."""
    for state, style in ((DONE, {"marker": "o"}), (PRUNED, {"marker": "x", "linestyle": "none"})):
        found = sorted((row.point.learning_rate, row.value) for row in rows if row.state == state)
        axis.plot([rate for rate, _ in found], [value for _, value in found], color=f"C{number}", **style)
