"""Where reports go: a line on the terminal, `metrics.jsonl`, TensorBoard, DeepSpeed's monitors.

A report is a flat dictionary of numbers at full precision. Only rank 0 writes.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

import psutil
import torch

from uer_ds.engine.engine import Engine
from uer_ds.storage.disk import naming
from uer_ds.storage.files import write_file
from uer_ds.storage.places import EVALUATION_FILE, METRICS_FILE, NON_FINITE_FILE, STARTS_FILE
from uer_ds.train.loop import Progress

Report = Mapping[str, Any]


def training_report(
    progress: Progress, total_updates: int, averages: Mapping[str, float], rate: float, engine: Engine
) -> dict[str, Any]:
    """What a report says: how far, the window's averages (`Meter.averages`), rate, gradient, memory, time left."""
    values = dict(averages)
    seconds_per_update = values.pop("seconds_per_update")
    scale = engine.loss_scale()
    return {
        "update": progress.updates,
        "total_updates": total_updates,
        "tokens": progress.tokens,
        "samples": progress.samples,
        **values,
        "learning_rate": rate,
        "grad_norm": engine.grad_norm(),
        **({"loss_scale": scale[0]} if scale else {}),
        "memory_gb": memory_gb(),
        "seconds_left": seconds_per_update * (total_updates - progress.updates),
    }


def report_line(report: Report) -> str:
    """The terminal's line of a training report."""
    parts = [
        f"update {report['update']}/{report['total_updates']}",
        f"{report['tokens_per_second']:,.0f} tokens/s",
        f"loss {report['loss']:.4f}",
    ]
    parts += [f"{name} {report[name]:.4f}" for name in report if name.startswith("loss_")]
    accuracies = [name for name in report if name.startswith("accuracy_")] or ["accuracy"]
    parts += [f"{name.replace('accuracy', 'acc')} {report[name]:.3f}" for name in accuracies if name in report]
    parts += [
        *([f"{report['skipped_updates']} skipped"] if report["skipped_updates"] else []),
        f"lr {report['learning_rate']:.2e}",
        f"grad {report['grad_norm']:.2f}",
        f"{report['memory_gb']:.2f} GB",
        f"{clock(report['seconds_left'])} left",
    ]
    return " | ".join(parts)


def evaluation_line(report: Report) -> str:
    """The terminal's line of an evaluation."""
    numbers = [f"{name} {value:.4f}" for name, value in report.items() if name.startswith(("loss", "accuracy"))]
    return f"held-out text at update {report['update']}: " + " | ".join(numbers)


def clock(seconds: float) -> str:
    """Seconds as h:mm:ss."""
    minutes, second = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{second:02d}"


def json_line(report: Report) -> str:
    """`report` as one line of JSON, where a number that is not finite is null."""
    plain = {name: None if isinstance(v, float) and not math.isfinite(v) else v for name, v in report.items()}
    return json.dumps(plain, allow_nan=False) + "\n"


class Console:
    """Lines on stdout (and in a log file), under a progress bar in a terminal.

    Somebody sits at it when stdin is one too: mpirun gives its processes a terminal to write to even where its own
    output goes to a file.
    """

    def __init__(self, total_updates: int, done_updates: int, log_path: str | None = None):
        self._log: TextIO | None = Path(log_path).open("a", encoding="utf-8") if log_path else None
        self._bar: Any = None
        if sys.stdout.isatty() and sys.stdin is not None and sys.stdin.isatty():
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

            self._bar = Progress("training", BarColumn(bar_width=None), MofNCompleteColumn(), TimeRemainingColumn())
            self._task = self._bar.add_task("training", total=total_updates, completed=done_updates)
            self._bar.start()

    def say(self, line: str) -> None:
        """Print one line at once (a pipe would hold it back)."""
        if self._bar is not None:
            self._bar.console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            print(line, flush=True)
        if self._log is not None:
            print(line, file=self._log, flush=True)

    def advance(self, updates: int) -> None:
        """Move the bar to `updates`."""
        if self._bar is not None:
            self._bar.update(self._task, completed=updates)

    def close(self) -> None:
        """Remove the bar, close the log file."""
        if self._bar is not None:
            self._bar.stop()
        if self._log is not None:
            self._log.close()


def keep_until(path: Path, update: int) -> None:
    """Drop the lines of a .jsonl file that were written after `update`: a resumed run writes them again."""
    if not path.exists():
        return
    kept = [line for line in path.read_text(encoding="utf-8").splitlines() if _update_of(line) <= update]
    write_file(path, "".join(line + "\n" for line in kept))


def _update_of(line: str) -> float:
    try:
        return json.loads(line)["update"]
    except (json.JSONDecodeError, KeyError, TypeError):
        return float("inf")  # a line cut by a kill


class Files:
    """`metrics.jsonl`, `evaluations.jsonl` and TensorBoard events of one run.

    On resume they, and the watchdog's file, are cut back to `done_updates`; `starts.jsonl` keeps every start.
    """

    def __init__(self, output: Path, tensorboard_dir: Path, done_updates: int, configuration: dict[str, Any]):
        from torch.utils.tensorboard import SummaryWriter

        self._output = output
        for name in (METRICS_FILE, EVALUATION_FILE, NON_FINITE_FILE, STARTS_FILE):
            keep_until(output / name, done_updates)
        self._append(STARTS_FILE, {"update": done_updates, "time": time.time()})
        self._board = SummaryWriter(str(tensorboard_dir), purge_step=done_updates + 1 if done_updates else 0)
        text = json.dumps(configuration, indent=2, ensure_ascii=False)
        self._board.add_text("configuration", f"```json\n{text}\n```", done_updates)
        self._board.flush()

    def write(self, report: Report, file_name: str, prefix: str) -> None:
        """Append `report` to the .jsonl file and to TensorBoard as `prefix`/name."""
        self._append(file_name, report)
        for name, value in report.items():
            if name not in ("update", "total_updates") and isinstance(value, (int, float)) and math.isfinite(value):
                self._board.add_scalar(f"{prefix}/{name}", value, report["update"])
        self._board.flush()

    def _append(self, file_name: str, line: Report) -> None:
        path = self._output / file_name
        with naming(path), path.open("a", encoding="utf-8") as file:
            file.write(json_line(line))

    def close(self) -> None:
        """Close the event file."""
        self._board.close()


def memory_gb() -> float:
    """Peak memory of this process on its GPU, or its resident memory on the CPU, in 10^9 bytes."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e9
    return psutil.Process().memory_info().rss / 1e9
