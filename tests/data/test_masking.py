"""Masking: the budget, the statistics of the reference, and what is never touched."""

from __future__ import annotations

import numpy as np
import pytest

from tests.toy_dataset import CLS, MASK, PAD, SEP, VOCAB_SIZE
from uer_ds.config.data import SamplingConfig
from uer_ds.data.masking import Masker, choose_units, mask_budget, span_probabilities, span_starts

FORBIDDEN = (PAD, CLS, SEP, MASK)


def rows(count: int, length: int, seed: int = 0, pads: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows of [CLS] a [SEP] [CLS] b [SEP] [PAD]..: ids and segments."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(200, VOCAB_SIZE, (count, length))
    end = length - pads
    ids[:, 0] = CLS
    ids[:, end // 2 - 1], ids[:, end // 2], ids[:, end - 1] = SEP, CLS, SEP
    segments = np.ones_like(ids)
    ids[:, end:], segments[:, end:] = PAD, 0
    return ids, segments


def masker(options: SamplingConfig) -> Masker:
    return Masker(VOCAB_SIZE, MASK, (PAD, CLS, SEP), 7, options)


def test_the_budget_rounds_halves_to_even_and_is_at_least_one() -> None:
    lengths = np.arange(1, 2000)
    assert mask_budget(lengths).tolist() == [max(1, round(0.15 * int(n))) for n in lengths]


@pytest.mark.parametrize(
    "options", [SamplingConfig(), SamplingConfig(span_masking=True), SamplingConfig(whole_word_masking=True)]
)
def test_specials_and_pads_are_never_chosen_and_the_budget_holds(options: SamplingConfig) -> None:
    ids, segments = rows(300, 128, pads=28)
    words = np.random.default_rng(1).random(ids.shape) < 0.6
    chosen, _ = masker(options).choose(ids, segments, np.zeros(300, int), np.arange(300), words)
    assert not np.isin(ids[chosen], FORBIDDEN).any() and not chosen[:, 100:].any()
    assert (chosen.sum(axis=1) <= 15).all()
    if options == SamplingConfig():
        assert (chosen.sum(axis=1) == 15).all()
    assert chosen.sum(axis=1).mean() > 14.5


def test_tiny_rows() -> None:
    ids = np.array([[CLS, SEP, PAD, PAD], [CLS, 300, SEP, PAD], [PAD, PAD, PAD, PAD]])
    segments = (ids != PAD).astype(int)
    for options in (SamplingConfig(), SamplingConfig(span_masking=True), SamplingConfig(whole_word_masking=True)):
        new, chosen = masker(options).mask(ids, segments, np.zeros(3, int), np.arange(3), np.ones((3, 4), bool))
        assert chosen.tolist() == [[False] * 4, [False, True, False, False], [False] * 4]
        assert (new == ids)[~chosen].all()


def test_eighty_ten_ten_and_random_ids_are_ordinary() -> None:
    ids, segments = rows(2000, 128)
    epochs, numbers = np.zeros(2000, int), np.arange(2000)
    masked, chosen = masker(SamplingConfig()).mask(ids, segments, epochs, numbers)
    old, new = ids[chosen], masked[chosen]
    shares = [(new == MASK).mean(), ((new != MASK) & (new != old)).mean(), (new == old).mean()]
    assert np.allclose(shares, [0.8, 0.1, 0.1], atol=0.01)
    drawn = new[(new != MASK) & (new != old)]
    assert not np.isin(drawn, FORBIDDEN).any()
    assert drawn.min() < 20 and drawn.max() > 980 and len(np.unique(drawn)) > 900


def test_positions_are_chosen_uniformly() -> None:
    ids, segments = rows(4000, 64)
    chosen, _ = masker(SamplingConfig()).choose(ids, segments, np.zeros(4000, int), np.arange(4000))
    per_position = chosen.mean(axis=0)[(ids[0] != CLS) & (ids[0] != SEP)]
    assert abs(per_position.mean() - 10 / 60) < 1e-9
    assert per_position.std() < 2 * np.sqrt(1 / 6 * 5 / 6 / 4000)


def test_masking_depends_on_the_sample_only() -> None:
    ids, segments = rows(20, 64)
    one = masker(SamplingConfig(span_masking=True))
    epochs, numbers = np.arange(20) % 2, np.arange(20)
    masked, chosen = one.mask(ids, segments, epochs, numbers)
    for i in range(20):
        own = slice(i, i + 1)
        again, again_chosen = one.mask(ids[own], segments[own], epochs[own], numbers[own])
        assert (again[0] == masked[i]).all() and (again_chosen[0] == chosen[i]).all()


@pytest.mark.parametrize(("geo_prob", "longest", "mean"), [(0.2, 10, 3.797), (0.3, 5, 2.323)])
def test_span_lengths_have_the_expected_mean(geo_prob: float, longest: int, mean: float) -> None:
    """The means that UER-py's distribution has before any span is cut or skipped."""
    assert abs(span_probabilities(geo_prob, longest) @ np.arange(1, longest + 1) - mean) < 5e-4
    options = SamplingConfig(span_masking=True, span_geo_prob=geo_prob, span_max_length=longest)
    ids, segments = np.full((200, 500), 300), np.ones((200, 500), int)
    _, starts = masker(options).choose(ids, segments, np.zeros(200, int), np.arange(200))
    lengths = np.diff(np.flatnonzero(starts.reshape(-1)))
    assert lengths.max() == longest and abs(lengths.mean() / mean - 1) < 0.02


def test_spans_partition_runs_and_do_not_cross_special_tokens() -> None:
    maskable = np.array([[False, True, True, True, False, True, True, False]])
    lengths = np.array([[9, 2, 9, 9, 9, 5, 9, 9]])
    assert np.flatnonzero(span_starts(maskable, lengths)[0]).tolist() == [1, 3, 5]


def test_a_span_shares_one_choice() -> None:
    ids, segments = rows(500, 128)
    epochs, numbers = np.zeros(500, int), np.arange(500)
    one = masker(SamplingConfig(span_masking=True))
    new, chosen = one.mask(ids, segments, epochs, numbers)
    _, starts = one.choose(ids, segments, epochs, numbers)
    is_mask = new == MASK
    inner = chosen[:, 1:] & chosen[:, :-1] & ~starts[:, 1:]
    assert inner.sum() > 1000 and (is_mask[:, 1:] == is_mask[:, :-1])[inner].all()
    assert abs(is_mask[chosen].mean() - 0.8) < 0.03


def test_units_that_do_not_fit_are_skipped_not_cut() -> None:
    maskable = np.ones((1, 6), bool)
    starts = np.array([[True, False, False, False, True, True]])
    keys = np.array([[0, 9, 9, 9, 1, 2]], dtype=np.uint32)
    assert choose_units(maskable, starts, np.array([2]), keys).tolist() == [[False] * 4 + [True] * 2]
    assert choose_units(maskable, starts, np.array([5]), keys).tolist() == [[True] * 5 + [False]]
    assert choose_units(maskable, starts, np.array([3]), keys).tolist() == [[False] * 4 + [True] * 2]


def test_whole_words_are_masked_together() -> None:
    ids, segments = rows(400, 128)
    word_starts = np.random.default_rng(1).random(ids.shape) < 0.5
    chosen, starts = masker(SamplingConfig(whole_word_masking=True)).choose(
        ids, segments, np.zeros(400, int), np.arange(400), word_starts
    )
    same_word = ~starts[:, 1:] & (segments[:, 1:] > 0) & ~np.isin(ids[:, 1:], FORBIDDEN)
    assert (chosen[:, 1:] == chosen[:, :-1])[same_word].all()
    assert (starts == (word_starts | starts))[~np.isin(ids, FORBIDDEN)].all()
