"""What a fine-tuning run says at its end."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from uer_ds.finetune.trainer import Best, EarlyStop, Finetuner, score_table
from uer_ds.train.loop import Progress


@pytest.mark.parametrize(
    ("best", "words"),
    [
        (Best(), "nothing of this run is kept"),
        (Best(0.5, {"accuracy": 0.5}, update=5), "epoch 1, the best so far, is kept in out"),
    ],
)
def test_a_stop_says_what_is_kept(best: Best, words: str) -> None:
    run: Any = object.__new__(Finetuner)
    run.best, run.progress, run.wish, run.output = best, Progress(updates=7), EarlyStop(), Path("out")
    run.material = SimpleNamespace(train=[None] * 40)
    run.run = SimpleNamespace(training=SimpleNamespace(batch_size=8, accumulation_steps=1, epochs_num=3))
    run.group = SimpleNamespace(place=SimpleNamespace(world_size=1))
    run.wish.wish("SIGTERM")
    expected = f"stopped (SIGTERM) at update 7 of 15; {words}; the same command begins again"
    assert run._stopped() == expected


def test_scores_are_a_table() -> None:
    lines = score_table({"dev": {"f1": 0.5, "precision": 0.25}, "test": {"f1": 1.0, "precision": 0.0}})
    assert [line.split() for line in lines] == [
        ["f1", "precision"],
        ["dev", "0.5000", "0.2500"],
        ["test", "1.0000", "0.0000"],
    ]
    assert len({len(line) for line in lines}) == 1
