"""What may differ between a checkpoint and the run that continues it, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from uer_ds.config.layout import Layout
from uer_ds.config.sharing import ALONE, Sharing
from uer_ds.errors import UserError
from uer_ds.train.checkpoint import State
from uer_ds.train.resuming import check_division, check_same_run

CHECKPOINT = Path("run/checkpoint-5")
IDENTITY = {"model.hidden_size": 32, "datasets": ["a" * 16], "tokenizer": "t", "target tokenizer": "u", "--seed": 7}


def layout(processes: int, stage: int, offload: str = "", precision: str = "fp32", sharing: Sharing = ALONE) -> Layout:
    return Layout(processes, stage, offload, precision, 8, 1, 1, sharing)


def state(identity: dict[str, Any]) -> State:
    return State(5, 160, 5000, layout(1, 1), 7, identity, {}, [], {}, {})


def test_the_same_run_goes_on() -> None:
    check_same_run(CHECKPOINT, state(IDENTITY), IDENTITY)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model.hidden_size": 64}, "model.hidden_size 32, this run has 64"),
        ({"tokenizer": "v"}, "tokenizer t, this run has v"),
        ({"target tokenizer": "v"}, "target tokenizer u, this run has v"),
        ({"datasets": ["b" * 16]}, r"other data than there is now \(fingerprint aaaaaaaa, now bbbbbbbb\)"),
        ({"data.seq_length": 64}, "data.seq_length default, this run has 64"),
    ],
)
def test_another_run_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=f"^run/checkpoint-5: was trained .*{words}"):
        check_same_run(CHECKPOINT, state(IDENTITY), {**IDENTITY, **change})


@pytest.mark.parametrize(
    ("before", "now", "same"),
    [
        (layout(2, 2), layout(2, 2), True),
        (layout(2, 2), layout(1, 2), False),
        (layout(2, 0), layout(1, 0), True),  # one file serves all
        (layout(2, 2), layout(2, 3), False),
        (layout(2, 2), layout(2, 2, offload="optimizer to cpu"), False),
        (layout(2, 2), layout(2, 2, precision="bf16"), False),
        (layout(2, 2, sharing=Sharing(rows=2)), layout(2, 2), True),  # each rank's files are the same
    ],
)
def test_when_each_rank_reads_its_own_files(before: Layout, now: Layout, same: bool) -> None:
    assert before.divided_like(now) is same
    check_division(CHECKPOINT, before, now)


def test_what_cannot_be_divided_anew_is_refused() -> None:
    special = {"offload": "optimizer to nvme"}
    check_division(CHECKPOINT, layout(4, 3, **special), layout(4, 3, **special))
    for before, now in (
        (layout(4, 3, **special), layout(2, 3, **special)),
        (layout(4, 3), layout(4, 3, **special)),
    ):
        with pytest.raises(UserError, match=r"can only be continued as it was written \(4 processes at stage 3"):
            check_division(CHECKPOINT, before, now)


def test_divisions_in_words() -> None:
    assert layout(1, 0).division == "1 process at stage 0"
    words = layout(8, 3, precision="bf16", offload="optimizer to cpu").division
    assert words == "8 processes at stage 3 in bf16, optimizer to cpu"


def test_shared_layers_are_not_divided_anew() -> None:
    shared = layout(2, 1, sharing=Sharing(layers=2))
    check_division(CHECKPOINT, shared, shared)
    words = r"shared layers wrote can only .*2 processes \(2 on each layer\) at stage 1"
    for before, now in ((shared, layout(2, 1)), (layout(1, 0), shared)):
        assert not before.divided_like(now)
        with pytest.raises(UserError, match=words):
            check_division(CHECKPOINT, before, now)
