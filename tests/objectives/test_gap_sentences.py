"""gsg: which sentences are taken out, and what both sides then read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.toy_dataset import CLS, MASK, PAD, SEP, row_options, toy_dataset
from uer_ds.data.batch import IGNORE
from uer_ds.errors import UserError
from uer_ds.objectives import build_objective
from uer_ds.objectives.gap_sentences import GapSentences

SENTENCES = [[300 + k] * 2 for k in range(7)]


def test_lead_takes_the_first_ones(tmp_path: Path) -> None:
    dataset = toy_dataset(tmp_path, [SENTENCES])
    batch = GapSentences(dataset, row_options(20, tgt_seq_length=8)).batch(np.zeros(1, int), np.zeros(1, int))
    rest = [token for sentence in SENTENCES[2:] for token in sentence]
    assert batch.ids.tolist() == [[CLS, MASK, MASK, *rest, SEP, *[PAD] * 6]]
    assert batch.decoder is not None and batch.decoder.ids.tolist() == [[CLS, 300, 300, 301, 301, PAD, PAD]]
    assert batch.labels["lm"].tolist() == [[300, 300, 301, 301, SEP, IGNORE, IGNORE]]


def test_random_takes_any_but_the_last(tmp_path: Path) -> None:
    dataset = toy_dataset(tmp_path, [SENTENCES])
    options = row_options(seq_length=20, tgt_seq_length=8, sentence_selection_strategy="random")
    batch = build_objective("gsg", dataset, options).batch(np.arange(600), np.zeros(600, int))
    taken = np.array([[300 + k in row for k in range(7)] for row in batch.labels["lm"].tolist()])
    assert (taken.sum(axis=1) == 2).all()
    assert (abs(taken.mean(axis=0)[:6] - 1 / 3) < 0.08).all() and not taken[:, 6].any()


def test_what_does_not_fit_the_target_stays_in_the_source(tmp_path: Path) -> None:
    dataset = toy_dataset(tmp_path, [[[300] * 9, [301], [302], [303]]])
    batch = GapSentences(dataset, row_options(20, tgt_seq_length=6)).batch(np.zeros(1, int), np.zeros(1, int))
    assert batch.ids[0].tolist()[:13] == [CLS, *[300] * 9, 301, 302, 303]
    assert (batch.labels["lm"] == IGNORE).all()


def test_a_single_sentence_has_no_gap_and_no_labels(tmp_path: Path) -> None:
    batch = GapSentences(toy_dataset(tmp_path, [[[300, 301]]]), row_options(8, tgt_seq_length=8)).batch(
        np.zeros(1, int), np.zeros(1, int)
    )
    assert batch.ids.tolist() == [[CLS, 300, 301, SEP, PAD, PAD, PAD, PAD]] and (batch.labels["lm"] == IGNORE).all()
    assert batch.decoder is not None and batch.decoder.ids.tolist() == [[CLS, PAD, PAD, PAD, PAD, PAD, PAD]]
    assert batch.decoder.segments.tolist() == [[1, 0, 0, 0, 0, 0, 0]]


def test_an_unknown_strategy_is_refused() -> None:
    with pytest.raises(UserError, match="did you mean 'lead'"):
        row_options(sentence_selection_strategy="leads")
