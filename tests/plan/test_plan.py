"""Time by hand, the search for a micro-batch, and the command from its options to its JSON."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import pytest

from uer_ds.cli import plan as command
from uer_ds.cli.main import main
from uer_ds.cli.parser import Parser, given_values
from uer_ds.cli.pretrain import add_arguments as pretrain_arguments
from uer_ds.cli.pretrain import modernise
from uer_ds.errors import UserError
from uer_ds.models.flops import training_flops
from uer_ds.plan.choices import ALLOCATOR, EQUAL, Plan, best, choice, choices, fits, largest_batch, plan_of
from uer_ds.plan.cluster import DEVICES, Cluster, device
from uer_ds.plan.memory import peak
from uer_ds.plan.rows import work_of_rows
from uer_ds.plan.timing import one_way, update_time

SMALL = ["--model", "roberta_L-4_H-512", "--data_processor", "mlm", "--vocab_size", "20907"]
NODES = Cluster("h100", DEVICES["h100"], nodes=4, per_node=8)


def parsed(words: list[str]) -> argparse.Namespace:
    parser = Parser()
    command.add_arguments(parser)
    args = parser.parse_args(command.modernise(words))
    args.arguments = words
    return args


def plan(*words: str, cluster: Cluster = NODES) -> Plan:
    config, _ = command.make_run_config(parsed([*SMALL, *words]), cluster)
    return plan_of(config, cluster.processes, cluster.device.kind)


def test_communication_goes_inside_nodes_and_between_them() -> None:
    count = 1e9
    assert one_way(count, replace(NODES, nodes=1)) == pytest.approx(7 / 8 * count / 450e9)
    assert one_way(count, replace(NODES, per_node=1)) == pytest.approx(3 / 4 * count / 50e9)
    assert one_way(count, NODES) == pytest.approx(7 / 8 * count / 450e9 + 3 / 4 * count / 50e9)
    assert one_way(count, replace(NODES, nodes=1, per_node=1)) == 0


def test_an_update_takes_its_products_and_what_they_do_not_hide() -> None:
    made = plan("--batch_size", "64")
    work = work_of_rows(made.rows, "fully_visible", ("mlm",))
    products = training_flops(made.model, work) / (0.4 * 989.4e12)
    once = one_way(2 * made.subject.parameters, NODES)
    for stage, waited in ((0, 2 * once), (1, 3 * once), (2, once + max(0, 2 * once - products * 2 / 3))):
        division = made.division.at(stage, False)
        time = update_time(made.subject, made.model, division, made.rows, NODES)
        assert time.compute == pytest.approx(products) and time.communication == pytest.approx(waited)
    recomputed = update_time(replace(made.subject, recompute=1), made.model, made.division, made.rows, NODES)
    assert recomputed.compute == pytest.approx(products * 4 / 3)


def test_on_a_cpu_nothing_hides_and_stage_3_moves_weights_three_times() -> None:
    cluster = Cluster("cpu", DEVICES["cpu"], per_node=2)
    made = plan("--batch_size", "8", "--ds_config", "zero3", cluster=cluster)
    time = update_time(made.subject, made.model, made.division, made.rows, cluster)
    assert time.communication == pytest.approx(3 * one_way(4 * made.subject.parameters, cluster))


def test_the_largest_micro_batch_fits_and_the_next_one_does_not() -> None:
    made = plan()
    found = largest_batch(made, 10e9)
    assert fits(made, found, 10e9) and not fits(made, 2 * found, 10e9)
    assert ALLOCATOR["gpu"] * peak(made.subject, made.division, made.rows.of(2 * found)).total > 10e9
    assert largest_batch(made, 1e9) == 0


def test_with_a_global_batch_the_micro_batch_divides_it() -> None:
    made = plan("--global_batch_size", str(32 * 24), "--batch_size", "8")
    assert largest_batch(made, 1e12) == 24
    assert made.run.accumulation == 3


def test_all_ways_are_compared_and_the_fastest_that_fits_is_best() -> None:
    found = list(choices(plan(), NODES))
    assert {(c.division.stage, c.division.offload, bool(c.recompute)) for c in found} == {
        (stage, offload, again)
        for stage, offload in ((0, False), (1, False), (2, False), (2, True), (3, False), (3, True))
        for again in (False, True)
    }
    chosen = best(found)
    assert chosen is not None
    near = [c for c in found if c.time.tokens_per_second >= EQUAL * max(c.time.tokens_per_second for c in found)]
    assert chosen in near and chosen.division.stage == min(c.division.stage for c in near)
    assert best(replace(one, batch_size=0) for one in found) is None


def test_a_smaller_card_takes_smaller_micro_batches() -> None:
    made = plan("--batch_size", "4096")
    cards = [choice(made, made.division, 0, replace(NODES, device=device(name))) for name in ("4090", "h200")]
    assert cards[0].batch_size < cards[1].batch_size
    assert all(one.rows == min(one.batch_size, 4096) for one in cards)


def test_the_command_prints_and_writes_its_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "plan.json"
    words = ["--gpu", "a100-40", "--gpus_per_node", "8", "--price_per_gpu_hour", "2", "--json", str(file)]
    assert main(["plan", *SMALL, *words, "--batch_size", "64"]) == 0
    out = capsys.readouterr().out
    figures = json.loads(file.read_text())
    assert len(figures["choices"]) == 12 and "23,863" in out
    chosen = figures["recommended"]
    assert chosen["cost"] == pytest.approx(chosen["days"] * 24 * 8 * 2)
    seconds = figures["tokens"] / chosen["time"]["tokens_per_second"]
    assert chosen["days"] == pytest.approx(seconds / 86400)
    assert figures["tokens"] == 100000 * 64 * 8 * 128
    recommended = out.strip().splitlines()[-1].split()
    assert (
        recommended[:2] == ["uer-ds", "pretrain"] and "--gpu" not in recommended and "--vocab_size" not in recommended
    )
    parser = Parser()
    pretrain_arguments(parser)
    assert parser.parse_args(modernise(recommended[2:])).ds_config == chosen["ds_config"]


def test_the_vocabulary_comes_from_a_file_or_is_said(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a"]) + "\n")
    cpu = Cluster("cpu", DEVICES["cpu"])
    config, where = command.make_run_config(parsed(["--vocab_path", str(tmp_path / "vocab.txt")]), cpu)
    assert config.model.vocab_size == 6 and "file" in where
    config, where = command.make_run_config(parsed([]), cpu)
    assert config.model.vocab_size == 21128 and "google_zh" in where


@pytest.mark.parametrize("recipe", ["bert_base", "gpt2_distil", "t5_base"])
def test_recipes_are_planned(recipe: str) -> None:
    config, _ = command.make_run_config(parsed(["--recipe", recipe]), NODES)
    assert plan_of(config, 32, "gpu").subject.parameters > 1e7


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--gpu", "h10"], "h100"),
        (["--nodes", "0"], "--nodes is 0; expected 1 or more."),
        (["--efficiency", "1.5"], "--efficiency is 1.5; expected a number above 0 and at most 1."),
        (["--global_batch_size", "10", "--gpus_per_node", "8"], "is no multiple of"),
        (["--tensor_parallel_size", "2", "--gpus_per_node", "2", "--ds_config", "zero1"], "tensor_parallel_size"),
    ],
)
def test_mistakes_are_told(words: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        args = parsed([*SMALL, *words])
        machines = command.Machines(**given_values(args, command.Machines))
        command.make_run_config(args, command.make_cluster(machines))
