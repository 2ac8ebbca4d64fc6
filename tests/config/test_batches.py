"""How many micro-batches make an update: options, processes, and the checkpoint that is continued."""

from __future__ import annotations

from typing import Any

import pytest

from tests.config.test_config import run_config
from uer_ds.config.batches import settle_batches
from uer_ds.config.layout import Layout
from uer_ds.config.sharing import Sharing
from uer_ds.errors import UserError


def before(processes: int, batch_size: int, accumulation: int, unit: int, rows: int = 1) -> Layout:
    return Layout(processes, 1, "", "fp32", batch_size, accumulation, unit, Sharing(rows))


@pytest.mark.parametrize(
    ("options", "processes", "checkpoint", "accumulation", "updates"),
    [
        ({}, 3, None, 1, 100),
        ({"accumulation_steps": 4}, 3, None, 4, 25),
        ({"global_batch_size": 96}, 3, None, 4, 100),  # steps are updates
        ({"global_batch_size": 96}, 1, before(3, 8, 4, 1), 12, 100),
        ({}, 1, before(2, 8, 1, 1), 2, 100),  # the global batch stays
        ({}, 4, before(2, 8, 4, 4), 2, 25),  # and so does the schedule
        ({"batch_size": 4}, 2, before(2, 8, 1, 1), 2, 100),
        ({"batch_size": 5}, 2, before(2, 8, 2, 2), 1, 50),  # 32 is no multiple of 10
        ({"accumulation_steps": 3}, 2, before(2, 8, 2, 2), 3, 50),  # as asked
    ],
)
def test_accumulation_and_schedule(
    options: dict[str, Any], processes: int, checkpoint: Layout | None, accumulation: int, updates: int
) -> None:
    run, said = settle_batches(run_config(**{"total_steps": 100, "batch_size": 8, **options}), processes, checkpoint)
    assert (run.accumulation, run.total_updates) == (accumulation, updates)
    now = before(processes, run.train.batch_size, run.accumulation, run.steps_per_update)
    if checkpoint and checkpoint.sequences == now.sequences:
        assert "as before" in said[0]
    elif checkpoint:
        assert f"{now.sequences} sequences from here on, {checkpoint.sequences} before" in said[0]
    else:
        assert said == []


@pytest.mark.parametrize(
    ("options", "processes", "checkpoint", "accumulation"),
    [
        ({"global_batch_size": 96, "sequence_parallel_size": 2}, 6, None, 4),
        ({"sequence_parallel_size": 2}, 4, before(4, 8, 1, 1), 2),  # two readers now, four before
        ({}, 4, before(4, 8, 2, 2, rows=2), 1),  # and the other way round
    ],
)
def test_processes_that_share_rows_count_as_one(
    options: dict[str, Any], processes: int, checkpoint: Layout | None, accumulation: int
) -> None:
    run, said = settle_batches(run_config(batch_size=8, **options), processes, checkpoint)
    assert run.accumulation == accumulation
    assert [line.split(",")[0] for line in said] == (["update     32 sequences"] if checkpoint else [])


def test_numbers_that_do_not_divide_name_groups() -> None:
    with pytest.raises(UserError, match=r"no multiple of 3 groups of 2 processes x --batch_size 16 = 48.*or 4 proc"):
        settle_batches(run_config(global_batch_size=64, batch_size=16, sequence_parallel_size=2), 6)
    with pytest.raises(UserError, match=r"--sequence_parallel_size 2, but there are 3 processes; start a multiple"):
        settle_batches(run_config(sequence_parallel_size=2), 3)


def test_nothing_is_said_when_nothing_changed() -> None:
    assert settle_batches(run_config(batch_size=8), 2, before(2, 8, 1, 1))[1] == []


@pytest.mark.parametrize(
    ("sequences", "processes", "batch_size", "words"),
    [
        (100, 3, 16, "100 is no multiple of 3 processes x --batch_size 16 = 48"),
        (100, 3, 16, "the nearest that work: --global_batch_size 96 or 144."),
        (64, 2, 24, "--global_batch_size 48 or 96, or --batch_size 16."),
        (64, 3, 16, "or 2 processes."),
        (8, 3, 16, "--global_batch_size 48."),
    ],
)
def test_numbers_that_do_not_divide_are_refused_with_those_that_do(
    sequences: int, processes: int, batch_size: int, words: str
) -> None:
    with pytest.raises(UserError) as caught:
        settle_batches(run_config(global_batch_size=sequences, batch_size=batch_size), processes)
    assert words in str(caught.value)


def test_contradicting_options_are_refused() -> None:
    with pytest.raises(UserError, match="--accumulation_steps is 2; leave it out"):
        settle_batches(run_config(global_batch_size=96, batch_size=8, accumulation_steps=2), 3)
