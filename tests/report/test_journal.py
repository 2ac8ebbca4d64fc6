"""The journal of a run that is stopped and goes on, as a report reads it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from time import sleep

import torch

from uer_ds.engine.group import Group
from uer_ds.report.read import read_runs
from uer_ds.train.journal import Journal
from uer_ds.train.meter import Meter
from uer_ds.train.reports import Console, Files

PAUSE = 0.01


class Alone(Group):
    """One process, without torch.distributed."""

    def __init__(self) -> None:
        pass

    def sum(self, values: object) -> torch.Tensor:
        return torch.as_tensor(values, dtype=torch.float64)


def session(folder: Path, done: int, end: int) -> None:
    """Updates done + 1 to end, a report each second one; killed before its files are closed."""
    files, meter = Files(folder, folder / "tensorboard", done, {}), Meter()
    journal = Journal(Console(20, done), files)
    meter.start()
    for update in meter.waiting(late(range(done + 1, end + 1))):
        meter.add({"loss_mlm": (torch.tensor(6.0), torch.tensor(2.0))}, 10, skipped=update == 3)
        if update % 2 == 0:
            more = {"learning_rate": 0.1, "grad_norm": 1.0, "memory_gb": 0.5, "seconds_left": 1.0}
            report = {"update": update, "total_updates": 20, "tokens": 10 * update, **meter.averages(Alone()), **more}
            journal.report(report)
            sleep(PAUSE)
            meter.pause(PAUSE)
    files.close()


def late(numbers: range) -> Iterator[int]:
    for number in numbers:
        sleep(0.01)
        yield number


def test_starts_and_seconds_come_through(tmp_path: Path) -> None:
    session(tmp_path, 0, 8)
    session(tmp_path, 6, 10)
    with (tmp_path / "starts.jsonl").open("a") as file:
        file.write('{"upd')
    session(tmp_path, 10, 12)
    session(tmp_path, 4, 6)  # an older checkpoint: what came later never was
    (run,) = read_runs([str(tmp_path)])
    assert [line["update"] for line in run.metrics] == [2, 4, 6] and not run.notes
    assert run.resumes == [4] and run.skipped == [4]
    assert [line["seconds_paused"] for line in run.metrics] == [0.0, PAUSE, 0.0]
    assert all(0.02 <= line["seconds_for_data"] <= line["seconds"] for line in run.metrics)
    assert all(line["loss"] == 3 for line in run.metrics)
