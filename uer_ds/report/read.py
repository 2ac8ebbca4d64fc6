"""The folder of a run -> plain data: reports, evaluations, starts, skipped updates, configuration."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from uer_ds.errors import UserError
from uer_ds.storage.files import read_json_object
from uer_ds.storage.places import EVALUATION_FILE, METRICS_FILE, NON_FINITE_FILE, RUN_FILE, STARTS_FILE

Line = Mapping[str, Any]


@dataclass(frozen=True)
class RunLog:
    """One run. `skipped`: updates; `notes`: lines of its files that could not be read, in words."""

    name: str
    metrics: Sequence[Line]
    evaluations: Sequence[Line]
    resumes: Sequence[int]
    skipped: Sequence[int]
    configuration: Mapping[str, str]
    notes: Sequence[str] = field(default=())


def read_runs(folders: Sequence[str]) -> list[RunLog]:
    """One for each folder; names are as short as they can be told apart. Raises UserError for other folders."""
    paths = [Path(folder) for folder in folders]
    twice = next((path for path in paths if paths.count(path) > 1), None)
    if twice is not None:
        raise UserError(f"{twice}: is named twice; name each run once.")
    return [_read(path, name) for path, name in zip(paths, _names(paths), strict=True)]


def _names(paths: Sequence[Path]) -> list[str]:
    parts = [path.resolve().parts for path in paths]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-length:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]


def _read(folder: Path, name: str) -> RunLog:
    if not (folder / METRICS_FILE).is_file():
        raise UserError(f"{folder}: has no {METRICS_FILE}; expected the folder of a run (its --output_model_path).")
    notes: list[str] = []
    metrics = _lines(folder / METRICS_FILE, notes)
    starts = [int(line["update"]) for line in _lines(folder / STARTS_FILE, notes)]
    skipped = [int(line["update"]) for line in _lines(folder / NON_FINITE_FILE, notes)]
    configuration = read_json_object(folder / RUN_FILE) if (folder / RUN_FILE).is_file() else {}
    return RunLog(
        name,
        metrics,
        _lines(folder / EVALUATION_FILE, notes),
        [update for update in starts if update],
        _skipped(metrics, skipped),
        dict(flat(configuration)),
        notes,
    )


def _skipped(metrics: Sequence[Line], named: Sequence[int]) -> list[int]:
    """The updates `named` by the watchdog, and the report's own for windows that counted more than those.

    float16's first overflows and updates skipped while fine-tuning are only counted.
    """
    named, before, counted = sorted(set(named)), 0, set[int]()
    for line in metrics:
        update = int(line["update"])
        here = bisect_right(named, update) - bisect_right(named, before)
        if line.get("skipped_updates", 0) > here:
            counted.add(update)
        before = update
    return sorted(counted.union(named))


def _lines(path: Path, notes: list[str]) -> list[Line]:
    """The objects of a .jsonl file that have an update; what cannot be read (a line cut by a kill) is noted."""
    if not path.is_file():
        return []
    found = []
    for number, text in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        try:
            line = json.loads(text)
            int(line["update"])
        except (json.JSONDecodeError, KeyError, OverflowError, TypeError, ValueError):
            notes.append(f"{path.name}: line {number} cannot be read and is left out")
        else:
            found.append(line)
    return found


def flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """(dotted name, value as JSON) of all leaves."""
    found: list[tuple[str, str]] = []
    for name, value in values.items():
        if isinstance(value, dict):
            found += flat(value, f"{prefix}{name}.")
        else:
            found.append((prefix + name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)))
    return found


def differences(runs: Sequence[RunLog]) -> list[tuple[str, list[str]]]:
    """(option, its value in each run) where the runs differ; "-" is the default."""
    names = dict.fromkeys(name for run in runs for name in run.configuration)
    rows = [(name, [run.configuration.get(name, "-") for run in runs]) for name in names]
    return [(name, values) for name, values in rows if len(set(values)) > 1]
