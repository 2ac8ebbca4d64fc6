"""gsg: which sentences are taken out, and what both sides then read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.toy_dataset import CLS, MASK, PAD, SEP, row_options, toy_dataset
from uer_ds.data.batch import IGNORE
from uer_ds.data.samples import require_samples
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
    dataset = toy_dataset(tmp_path, [[[300] * 9, [301], [302], [303]], [[310] * 3, [311] * 3, *[[312]] * 5]])
    objective = GapSentences(dataset, row_options(30, tgt_seq_length=6))
    batch = objective.batch(np.zeros(2, int), np.arange(2))
    assert batch.ids[0].tolist()[:14] == [CLS, *[300] * 9, MASK, 302, 303, SEP]
    assert batch.ids[1].tolist()[:10] == [CLS, MASK, *[311] * 3, *[312] * 5]
    assert [[i for i in row if i != IGNORE] for row in batch.labels["lm"].tolist()] == [
        [301, SEP],
        [310, 310, 310, SEP],
    ]


@pytest.mark.parametrize("shards", [1, 3])
def test_only_chunks_with_a_gap_are_rows(tmp_path: Path, shards: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("uer_ds.data.chunks.MANY_ITEMS", 5)
    single, long_first, pair = [[300, 301]], [[302] * 9, [303]], [[304, 305], [306]]
    # of this one the chunks of 8 tokens are: a pair, a single sentence, a run without any beginning, a pair
    many = [[307] * 3, [308] * 5, [309] * 20, [310] * 5, [311], [312]]
    dataset = toy_dataset(tmp_path, [single, pair, long_first, many, single, pair] * 60, shards)
    objective = GapSentences(dataset, row_options(10, tgt_seq_length=8))
    assert len(objective) == 60 * 4
    batch = objective.batch(np.zeros(240, int), np.arange(240))
    targets = [[i for i in row if i != IGNORE] for row in batch.labels["lm"].tolist()]
    expected = [[304, 305, SEP], [307, 307, 307, SEP], [311, SEP], [304, 305, SEP]]
    assert targets == expected * 60
    assert batch.ids[2].tolist()[:4] == [CLS, MASK, 312, SEP]


def test_nothing_but_single_sentences_is_refused(tmp_path: Path) -> None:
    objective = GapSentences(toy_dataset(tmp_path, [[[300, 301]], [[302]]]), row_options(8, tgt_seq_length=8))
    with pytest.raises(UserError, match="the gsg objective finds no sample"):
        require_samples(objective)


def test_an_unknown_strategy_is_refused() -> None:
    with pytest.raises(UserError, match="did you mean 'lead'"):
        row_options(sentence_selection_strategy="leads")
