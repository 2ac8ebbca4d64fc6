"""The points of a grid as trials of a study: each is trained once, whoever works, races or dies."""

from __future__ import annotations

import multiprocessing
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from uer_ds.config.trials import Point
from uer_ds.errors import UserError
from uer_ds.finetune import study as module
from uer_ds.finetune.best_model import MUTEX_NAME, TRIAL_FILE, holds_trial, keep_best, trial_folder, write_trial
from uer_ds.finetune.grid_report import draw, ranked, table, write_table
from uer_ds.finetune.result import TASK_FILE
from uer_ds.finetune.study import DONE, FAILED, PRUNED, Row, Study

POINTS = [Point(size, rate, 3) for size in (32, 64) for rate in (3e-5, 1e-4)]


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'study.db'}"


def numbers(study: Study) -> list[tuple[int, str]]:
    return [(trial.number, trial.state.name) for trial in study._trials()]


def test_points_are_taken_in_order_once_and_are_known_to_others(url: str) -> None:
    one, other = Study(url, "s", "here:out"), Study(url, "s")
    for place, point in enumerate(POINTS):
        worker = (one, other)[place % 2]
        taken = worker.take(POINTS)
        assert taken and (taken.number, taken.point) == (place, point)
        assert taken.trial.params == vars(point)  # what optuna's own tools show
        assert worker.complete(0.5 + place / 100, {"accuracy": 0.5 + place / 100})
    assert one.take(POINTS) is None and not other.busy(POINTS)
    assert [(row.point, row.state) for row in other.rows()] == [(point, DONE) for point in POINTS]
    best = other.best()
    assert best and best.point == POINTS[-1] and best.scores == {"accuracy": 0.53}
    assert other.rows()[0].place == "here:out"


def test_who_comes_too_late_for_the_last_point_gets_none_and_leaves_no_trace(url: str) -> None:
    one, other = Study(url, "s"), Study(url, "s")
    assert one.take(POINTS[:1])
    before = numbers(one)
    assert other.take(POINTS[:1]) is None and other.busy(POINTS[:1])
    assert numbers(other) == before
    one.give_up()
    assert not other.busy(POINTS[:1])
    again = other.take(POINTS[:1])
    assert again and again.number == 1 and again.point == POINTS[0]
    other.give_up()


def test_a_point_that_was_queued_twice_is_trained_once(url: str) -> None:
    study = Study(url, "s")
    for _ in range(2):  # two processes that saw an empty study at the same moment
        for point in POINTS[:2]:
            study._study.enqueue_trial(dict(vars(point)), user_attrs={"point": dict(vars(point))})
    for _ in range(2):
        assert study.take(POINTS[:2])
        study.complete(0.5, {})
    assert study.take(POINTS[:2]) is None
    assert numbers(study) == [(0, "COMPLETE"), (1, "COMPLETE"), (2, "FAIL"), (3, "FAIL")]
    assert [row.state for row in study.rows()] == [DONE, DONE]


def work(url: str, start: float, results: Any) -> None:
    study = Study(url, "s")
    time.sleep(max(0.0, start - time.time()))
    mine = []
    points = [Point(size, 1e-4, 1) for size in range(1, 17)]
    while taken := study.take(points):
        mine.append(taken.point.batch_size)
        study.complete(0.5, {})
    results.put(mine)


def test_racing_processes_never_take_the_same_trial(url: str) -> None:
    Study(url, "s")
    context = multiprocessing.get_context("fork")
    results: Any = context.Queue()
    processes = [context.Process(target=work, args=(url, time.time() + 1, results)) for _ in range(3)]
    for process in processes:
        process.start()
    found = [size for _ in processes for size in results.get(timeout=60)]
    for process in processes:
        process.join()
    assert sorted(found) == list(range(1, 17))


def test_a_dead_process_gives_its_point_back(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BEAT_SECONDS", 1)
    monkeypatch.setattr(module, "GRACE_SECONDS", 2)
    dead, alive, other = Study(url, "s"), Study(url, "s"), Study(url, "s")
    lost, kept = dead.take(POINTS[:2]), alive.take(POINTS[:2])
    assert lost and kept
    lost.beat.stop()  # what a kill does
    deadline, taken = time.monotonic() + 20, None
    while taken is None and time.monotonic() < deadline:
        time.sleep(0.3)
        taken = other.take(POINTS[:2])
    assert taken and taken.point == lost.point and taken.number == 2
    assert other.complete(0.5, {}) and alive.complete(0.6, {})
    assert not dead.complete(0.9, {})  # it was only slow: what it has found does not count any more
    assert [row.value for row in sorted(other.rows(), key=lambda row: row.point)] == [0.5, 0.6]


def test_what_failed_here_is_left_to_others(url: str) -> None:
    study = Study(url, "s")
    first = study.take(POINTS)
    assert first
    study.give_up()
    second = study.take(POINTS, avoid={first.point})
    assert second and second.point == POINTS[1]
    study.give_up()


def test_trials_below_the_median_are_pruned(url: str) -> None:
    study = Study(url, "s")
    points = [Point(32, 1e-4, epochs) for epochs in range(2, 9)]
    for _ in points[:6]:
        assert study.take(points)
        assert not study.hopeless(1, 0.8)
        study.complete(0.8, {})
    assert study.take(points)
    assert study.hopeless(1, 0.1) and study.prune()
    row = study.rows()[-1]
    assert (row.state, row.value) == (PRUNED, 0.1) and study.take(points) is None


def test_a_study_of_another_run_is_refused(url: str) -> None:
    Study(url, "s").check_same({"--train_path": "a.tsv", "--seq_length": 128})
    Study(url, "s").check_same({"--train_path": "a.tsv", "--seq_length": 128})
    with pytest.raises(UserError, match=r"study 's' .* another --train_path: a\.tsv, now b\.tsv; give another --study"):
        Study(url, "s").check_same({"--train_path": "b.tsv", "--seq_length": 128})


def test_a_database_that_is_not_there_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    for url in (f"sqlite:///{tmp_path}/no/study.db", "nonsense", "nosuch://host/db"):
        with pytest.raises(UserError, match="--study: the database cannot be opened"):
            Study(url, "s")


# -- the best model and the reports ------------------------------------------------------------------------------------


def leave_model(output: Path, study: Study, number: int, point: Point) -> None:
    folder = trial_folder(output, number)
    (folder / "tokenizer").mkdir(parents=True)
    (folder / "model.safetensors").write_text(f"weights {number}")
    (folder / TASK_FILE).write_text("{}")
    write_trial(folder, study.name, number, point, {})


def test_the_best_model_moves_to_the_output_folder(url: str, tmp_path: Path) -> None:
    study, output = Study(url, "s"), tmp_path / "out"
    for value in (0.5, 0.7, 0.6):
        taken = study.take(POINTS)
        assert taken
        leave_model(output, study, taken.number, taken.point)
        study.complete(value, {})
        keep_best(output, study)
    assert (output / "model.safetensors").read_text() == "weights 1"
    assert holds_trial(output, "s", 1) and not holds_trial(output, "s", 0) and not holds_trial(output, "other", 1)
    assert {path.name for path in output.iterdir()} == {
        "model.safetensors",
        "tokenizer",
        TASK_FILE,
        TRIAL_FILE,
        MUTEX_NAME,
    }
    # killed between the two steps of a better one: the study knows it, its files have not moved
    taken, other = study.take(POINTS), Study(url, "s")
    assert taken
    leave_model(output, study, taken.number, taken.point)
    study.complete(0.9, {})
    keep_best(output, other)
    assert (output / "model.safetensors").read_text() == "weights 3" and holds_trial(output, "s", 3)


def rows() -> list[Row]:
    began = datetime(2026, 1, 1)
    values = [(0.8, DONE), (0.9, DONE), (0.9, DONE), (0.95, PRUNED), (None, FAILED)]
    points = [*POINTS, Point(64, 1e-4, 8)]
    return [
        Row(n, points[n], state, value, {}, 10.0 + n, "", began + timedelta(hours=9 - n))
        for n, (value, state) in enumerate(values)
    ]


def test_the_table_is_sorted(url: str, tmp_path: Path) -> None:
    assert [row.number for row in ranked(rows())] == [2, 1, 0, 3, 4]
    lines = table(rows(), "accuracy")
    assert lines[0].split() == ["rank", "learning", "rate", "batch", "size", "epochs", "accuracy", "seconds", "state"]
    assert lines[1].split() == ["1", "3e-05", "64", "3", "0.9000", "12", "done"]
    assert lines[-1].split() == ["5", "0.0001", "64", "8", "-", "14", "failed"]
    assert len({len(line) for line in lines}) == 1
    draw(tmp_path / "grid.png", rows(), "accuracy")
    assert (tmp_path / "grid.png").read_bytes().startswith(b"\x89PNG")
    draw(tmp_path / "none.png", rows()[-1:], "accuracy")
    write_table(tmp_path / "grid.json", Study(url, "s"), "accuracy")
    assert '"best": null' in (tmp_path / "grid.json").read_text()
