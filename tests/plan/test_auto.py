"""--batch_size auto: what is chosen, what is kept, what is said."""

from __future__ import annotations

import argparse
from dataclasses import replace

import pytest

from uer_ds.cli import plan as command
from uer_ds.cli.parser import Parser
from uer_ds.config.layout import Layout
from uer_ds.config.run import AUTO, RunConfig, TrainConfig
from uer_ds.errors import UserError
from uer_ds.plan.auto import settle_micro_batch
from uer_ds.plan.choices import ALLOCATOR, MARGIN, plan_of
from uer_ds.plan.cluster import DEVICES, Cluster
from uer_ds.plan.memory import peak

SMALL = ["--model", "roberta_L-4_H-512", "--data_processor", "mlm", "--ds_config", "zero1"]


def before(batch_size: int) -> Layout:
    return Layout(1, 1, "", "fp32", batch_size, 1, 1)


def auto_run(*words: str) -> RunConfig:
    parser = Parser()
    command.add_arguments(parser)
    args = parser.parse_args([*SMALL, *words])
    config, _ = command.make_run_config(args, Cluster("cpu", DEVICES["cpu"]))
    return replace(config, train=replace(config.train, batch_size=AUTO, accumulation_steps=None))


def needed(run: RunConfig, rows: int) -> float:
    """Bytes that a process must have so that `rows` fit."""
    plan = plan_of(run, 1, "cpu")
    return peak(plan.subject, plan.division, plan.rows.of(rows)).total * ALLOCATOR["cpu"] / (1 - MARGIN)


def test_the_largest_power_of_two_that_leaves_a_tenth_free() -> None:
    run = auto_run()
    exactly = needed(run, 16)
    settled, lines = settle_micro_batch(run, 1, "cpu", exactly)
    assert settled.train.batch_size == 16 and "16 sequences" in lines[0] and "largest" in lines[0]
    assert settle_micro_batch(run, 1, "cpu", exactly - 1e6)[0].train.batch_size == 8


def test_a_global_batch_is_divided() -> None:
    run = auto_run("--global_batch_size", "48", "--batch_size", "24")
    assert settle_micro_batch(run, 2, "cpu", 1e12)[0].train.batch_size == 24
    assert settle_micro_batch(run, 2, "cpu", needed(run, 9))[0].train.batch_size == 8


@pytest.mark.parametrize(("kept", "chosen"), [(6, 6), (4096, 16)])
def test_a_resumed_run_keeps_its_micro_batch_where_it_fits(kept: int, chosen: int) -> None:
    run = auto_run()
    settled, lines = settle_micro_batch(run, 1, "cpu", needed(run, 16), before(kept))
    assert settled.train.batch_size == chosen
    assert ("as before" in lines[0]) == (kept == chosen)


def test_a_micro_batch_that_no_longer_divides_the_update_is_chosen_anew() -> None:
    run = auto_run("--global_batch_size", "48", "--batch_size", "24")
    assert settle_micro_batch(run, 4, "cpu", 1e12, before(24))[0].train.batch_size == 12


def test_too_little_memory_is_told() -> None:
    with pytest.raises(UserError, match=r"one row of 128 tokens takes about .* but a process has 0.5 GB"):
        settle_micro_batch(auto_run(), 1, "cpu", 0.5e9)


def test_auto_is_a_word_of_the_option_and_other_words_are_not(capsys: pytest.CaptureFixture[str]) -> None:
    parser = Parser()
    command.add_arguments(parser)
    args: argparse.Namespace = parser.parse_args(["--batch_size", "auto"])
    assert args.batch_size == AUTO
    with pytest.raises(UserError, match="invalid int value: 'much'"):
        parser.parse_args(["--batch_size", "much"])
    assert TrainConfig().batch_size == 32
