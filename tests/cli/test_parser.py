"""Mistakes in options: one sentence, the nearest name, no guessing."""

from __future__ import annotations

import pytest

from uer_ds.cli.main import main


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("pretrain --totalsteps 3", "unknown option --totalsteps (did you mean --total_steps?); see `uer-ds pretrain"),
        ("finetune classifier --epochs 3", "unknown option --epochs (did you mean --epochs_num?)"),  # no abbreviations
        ("finetune classfier", "invalid choice: 'classfier'"),
        ("finetune classfier", "(did you mean classifier?)"),
    ],
)
def test_a_wrong_word_is_told_with_the_nearest(words: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words.split()) == 2
    assert said in capsys.readouterr().err
