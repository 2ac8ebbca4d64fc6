"""Options of grids and folds: the page's command lines, what is refused, names of folders, bounds of folds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uer_ds.cli import cv, cv_predict, finetune, grid
from uer_ds.cli.parser import Parser, given_values
from uer_ds.config.trials import CV_TASKS, CvConfig, CvRun, GridConfig, GridRun, Point, fold_path, identity
from uer_ds.errors import UserError
from uer_ds.finetune.cv import fold_bounds, probabilities
from uer_ds.finetune.task import Classes, Task, Wanted
from uer_ds.launch.place import Place
from uer_ds.launch.workers import last_line, run_workers, worker_variables
from uer_ds.registry import TASKS

STRUCTURE = "--embedding word_pos_seg --encoder transformer --mask fully_visible"
PAGE = (
    "classifier --pretrained_model_path models/tiny.bin {vocabulary} --config_path models/bert/tiny_config.json "
    "--train_path datasets/douban_book_review/train.tsv --dev_path datasets/douban_book_review/dev.tsv "
    f"--learning_rate_list 3e-5 1e-4 3e-4 --batch_size_list 32 64 --epochs_num_list 3 5 8 {STRUCTURE}"
)


def parsed(command: Any, line: str) -> Any:
    parser = Parser(prog="uer-ds")
    command.add_arguments(parser)
    return parser.parse_args(command.modernise(line.split()))


def grid_run(line: str) -> GridRun:
    args = parsed(grid, line)
    return GridRun(finetune.make_run(args), GridConfig(**given_values(args, GridConfig)))


@pytest.mark.parametrize("vocabulary", ["--vocab_path models/google_zh_vocab.txt", "--spm_model_path models/a.model"])
def test_the_page_s_grids(vocabulary: str) -> None:
    run = grid_run(PAGE.format(vocabulary=vocabulary))
    assert len(run.points) == 18 and run.base.model["embedding"] == ("word", "pos", "seg")
    assert run.points[:4] == [Point(32, 3e-5, 3), Point(32, 3e-5, 5), Point(32, 3e-5, 8), Point(32, 1e-4, 3)]
    assert run.points[-1] == Point(64, 3e-4, 8)
    assert run.points == grid_run("classifier --train_path a --dev_path b").points  # the page gives the defaults
    changed = run.points[-1].applied(run.base)
    assert (changed.training.batch_size, changed.optim.learning_rate, changed.training.epochs_num) == (64, 3e-4, 8)


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--batch_size_list 0", "--batch_size_list has 0; expected 1 or more"),
        ("--learning_rate_list 1e-4 nan", "--learning_rate_list has nan"),
        ("--epochs_num_list -1", "--epochs_num_list has -1"),
        ("--trials_at_once 0", "--trials_at_once is 0"),
        ("--early_stopping 2", "--early_stopping chooses an epoch, but a grid counts the last one"),
    ],
)
def test_wrong_grids_are_refused(option: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        grid_run(f"classifier {option}")


def test_one_value_is_refused_where_a_list_belongs() -> None:
    with pytest.raises(UserError, match="--learning_rate has one value, but a grid tries several; give --learning_r"):
        grid.run(parsed(grid, "classifier --learning_rate 1e-4"))


def test_trials_at_once() -> None:
    alone, launched = Place("none", 0, 1, 0, 1, "", 0), Place("torchrun", 0, 2, 0, 2, "", 0)
    assert [grid.workers_here(wanted, alone) for wanted in (1, 3)] == [1, 3]
    assert [grid.workers_here(wanted, launched) for wanted in (None, 1)] == [1, 1]
    with pytest.raises(UserError, match="--trials_at_once is 2, but torchrun has started 2 processes"):
        grid.workers_here(2, launched)


def test_a_run_is_known_by_what_its_results_depend_on() -> None:
    base = "classifier --train_path a --dev_path b"
    one = grid_run(base).base
    same = grid_run(f"{base} --output_model_path x --report_steps 5 --test_path c --tensorboard_dir d").base
    other = grid_run(f"{base} --seq_length 64 --ds_config zero2_bf16").base
    assert identity(one, 1, True) == identity(same, 1, True) != identity(one, 2, True)
    found, wanted = identity(one, 1, True), identity(other, 1, True)
    assert {k for k in {**found, **wanted} if found.get(k) != wanted.get(k)} == {"--seq_length", "--ds_config"}


# -- folds -------------------------------------------------------------------------------------------------------------


def test_folds_as_uer_py_cuts_them() -> None:
    assert fold_bounds(14, 5) == [(0, 3), (3, 6), (6, 9), (9, 12), (12, 14)]
    assert fold_bounds(10, 3) == [(0, 4), (4, 8), (8, 10)]
    assert fold_bounds(10, 5) == [(0, 2), (2, 4), (4, 6), (6, 8), (8, 10)]  # UER-py: 3, 3, 3, 1, 0
    assert fold_bounds(12, 5) == [(0, 2), (2, 4), (4, 7), (7, 9), (9, 12)]  # UER-py: 3, 3, 3, 3, 0
    with pytest.raises(UserError, match="--folds_num is 5, but the training file has 4 examples"):
        fold_bounds(4, 5)


@given(st.integers(2, 40), st.integers(0, 300))
def test_folds_cover_every_row_once(folds: int, more: int) -> None:
    rows = folds + more
    bounds = fold_bounds(rows, folds)
    assert len(bounds) == folds and all(begin < end for begin, end in bounds)
    assert [row for begin, end in bounds for row in range(begin, end)] == list(range(rows))


def test_names_of_the_folds_models() -> None:
    assert fold_path("models/classifier_model.bin", 2) == "models/classifier_model-fold_2.bin"
    assert fold_path("models.old/classifier", 0) == "models.old/classifier-fold_0"
    paths = cv_predict.CvPredictPaths("a/b.bin", "t.tsv", "f.npy", batch_size=8).of_fold(1)
    assert (paths.load_model_path, paths.test_path, paths.batch_size) == ("a/b-fold_1.bin", "t.tsv", 8)


def cv_run(line: str) -> CvRun:
    args = parsed(cv, line)
    return CvRun(finetune.make_run(args), CvConfig(**given_values(args, CvConfig)))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--train_features_path f.npy --dev_path d.tsv", "--dev_path has no place in a cross-validation"),
        ("", "--train_features_path is missing"),
        ("--train_features_path f.npy --folds_num 1", "--folds_num is 1; expected 2 or more"),
        ("--train_features_path f.npy --epochs_num 0", "--epochs_num is 0"),
    ],
)
def test_wrong_cross_validations_are_refused(options: str, said: str) -> None:
    assert cv_run("classifier --train_path t --train_features_path f.npy").cv.folds_num == 5
    with pytest.raises(UserError, match=said):
        cv_run(f"classifier --train_path t {options}")


def test_tasks_with_probabilities_can_be_cross_validated() -> None:
    with_prob = {name for name in TASKS if "prob" in TASKS[name].columns(Wanted(prob=True))}
    assert set(CV_TASKS) <= with_prob
    task: Task = TASKS["classifier"]
    outputs = [np.log(np.array(row, dtype=np.float32)) for row in ([0.25, 0.75], [0.9, 0.1])]
    found = probabilities(task, [(None, output) for output in outputs], Classes(("0", "1")))  # type: ignore[misc]
    assert found.dtype == np.float32 and np.allclose(found, [[0.25, 0.75], [0.9, 0.1]])
    assert probabilities(task, [], Classes(("0", "1"))).shape == (0, 2)


# -- workers -----------------------------------------------------------------------------------------------------------


def test_each_worker_gets_a_device_and_its_share_of_the_cores() -> None:
    assert worker_variables(1, 2, 0, 8, {}) == {"OMP_NUM_THREADS": "4"}
    assert worker_variables(1, 2, 0, 8, {"OMP_NUM_THREADS": "3"}) == {}
    assert worker_variables(1, 4, 4, 2, {}) == {"CUDA_VISIBLE_DEVICES": "1", "OMP_NUM_THREADS": "1"}
    given = {"CUDA_VISIBLE_DEVICES": "5,7", "OMP_NUM_THREADS": "1"}
    assert [worker_variables(n, 3, 2, 8, given)["CUDA_VISIBLE_DEVICES"] for n in range(3)] == ["5", "7", "5"]


def test_a_worker_that_fails_leaves_the_others_alone(tmp_path: Path) -> None:
    logs = [tmp_path / f"worker-{number}.log" for number in range(2)]
    command = ["bash", "-c", "[ $N = 1 ] && { echo it is broken; exit 3; }; sleep 0.3; echo done $N"]
    looks: list[int] = []
    ends = run_workers(command, [{"N": "0"}, {"N": "1"}], logs, lambda: looks.append(1))
    assert ends.statuses == (0, 3) and not ends.stopped and looks
    assert [last_line(log) for log in logs] == ["done 0", "it is broken"]
