"""Which tokens are masked and what replaces them, for a whole batch at once in numpy.

Of the n real tokens of a row max(1, round(0.15 n)) are chosen, never a special token: single tokens, whole words or
spans, in random order; a word or span that does not fit into what is left of this budget is skipped. Of the chosen
tokens 80 % become [MASK], 10 % a random ordinary token, 10 % stay. B rows, S tokens a row, U units (words or spans) in
the batch, N chosen tokens.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from uer_ds.config.data import SamplingConfig
from uer_ds.data.random import Draws, below, threshold

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
MASKED_SHARE = 0.15


class Masker:
    """Masks rows; a pure function of (seed, epoch, sample number).

    `special_ids` and `mask_id` are never masked and never drawn as random tokens. Whole words win over spans, as in
    UER-py.
    """

    def __init__(self, vocab_size: int, mask_id: int, special_ids: tuple[int, ...], seed: int, options: SamplingConfig):
        self._mask_id = mask_id
        self._special = sorted({*special_ids, mask_id})
        self._vocab_size, self._options = vocab_size, options
        self._spans = options.span_masking and not options.whole_word_masking
        self._order = Draws(seed, "masking/order")
        self._replacement = Draws(seed, "masking/replacement")
        self._lengths = Draws(seed, "masking/span lengths")

    def mask(
        self, ids: Ints, segments: Ints, epochs: Ints, numbers: Ints, word_starts: Flags | None = None
    ) -> tuple[Ints, Flags]:
        """`ids` [B, S] with the chosen tokens replaced, and which ones they are [B, S]."""
        chosen, starts = self.choose(ids, segments, epochs, numbers, word_starts)
        return self._replace(ids, chosen, starts, epochs, numbers), chosen

    def choose(
        self, ids: Ints, segments: Ints, epochs: Ints, numbers: Ints, word_starts: Flags | None = None
    ) -> tuple[Flags, Flags]:
        """The chosen positions [B, S], and the positions [B, S] at which units (tokens, words or spans) begin."""
        maskable = (segments > 0) & ~np.isin(ids, self._special)
        budget = np.minimum(mask_budget((segments > 0).sum(axis=1)), maskable.sum(axis=1))  # [B]
        keys = self._order.words(epochs, numbers, ids.shape[1])
        if self._options.whole_word_masking:
            assert word_starts is not None, "whole-word masking needs word bounds"
            starts = maskable & (word_starts | _run_starts(maskable))
        elif self._spans:
            starts = span_starts(maskable, self._span_lengths(epochs, numbers, ids.shape[1]))
        else:
            return choose_tokens(maskable, budget, keys), maskable
        return choose_units(maskable, starts, budget, keys), starts

    def _replace(self, ids: Ints, chosen: Flags, starts: Flags, epochs: Ints, numbers: Ints) -> Ints:
        rows, columns = np.nonzero(chosen)
        words = self._replacement.words_at(epochs[rows], numbers[rows], columns)  # [N, 4]
        choice = words[:, 0]
        if self._spans:  # the tokens of a span share the choice of its first one
            first = np.where(starts, np.arange(starts.size).reshape(starts.shape), 0).reshape(-1)
            first = np.maximum.accumulate(first)[rows * ids.shape[1] + columns] - rows * ids.shape[1]
            choice = self._replacement.words_at(epochs[rows], numbers[rows], first)[:, 0]
        old = ids[rows, columns]
        new = np.where(choice < threshold(0.9), self._ordinary(words[:, 1]), old)
        result = ids.copy()
        result[rows, columns] = np.where(choice < threshold(0.8), self._mask_id, new)
        return result

    def _ordinary(self, words: NDArray[np.uint32]) -> Ints:
        """Uniform ids of the vocabulary without the special ones."""
        result = below(words, self._vocab_size - len(self._special))
        for special in self._special:
            result += result >= special
        return result

    def _span_lengths(self, epochs: Ints, numbers: Ints, length: int) -> Ints:
        cumulative = np.cumsum(span_probabilities(self._options.span_geo_prob, self._options.span_max_length))
        limits = np.round(cumulative[:-1] * 2.0**32).astype(np.uint64)
        words = self._lengths.words(epochs, numbers, length)
        return 1 + np.searchsorted(limits, words.astype(np.uint64), side="right")


def mask_budget(lengths: Ints) -> Ints:
    """How many tokens of rows of these lengths are masked; rint rounds halves to even, as Python's round in UER-py."""
    return np.maximum(1, np.rint(MASKED_SHARE * lengths).astype(np.int64))


def span_probabilities(geo_prob: float, max_length: int) -> NDArray[np.float64]:
    """Probabilities of the lengths 1 .. max_length."""
    weights = geo_prob * (1 - geo_prob) ** np.arange(max_length)
    return weights / weights.sum()


def choose_tokens(maskable: Flags, budget: Ints, keys: NDArray[np.uint32]) -> Flags:
    """In each row the `budget` maskable positions with the smallest keys; [B, S]."""
    # The column in the low half makes keys distinct, so that exactly `budget` of them are at or below the limit.
    distinct = (keys.astype(np.uint64) << np.uint64(32)) | np.arange(keys.shape[1], dtype=np.uint64)
    distinct[~maskable] = np.uint64(2**64 - 1)
    limit = np.take_along_axis(np.sort(distinct, axis=1), np.maximum(budget - 1, 0)[:, None], axis=1)
    return maskable & (distinct <= limit) & (budget > 0)[:, None]


def span_starts(maskable: Flags, lengths: Ints) -> Flags:
    """Cut runs of maskable positions into spans, left to right; `lengths` [B, S]: the draw for one beginning there."""
    ends = _run_ends(maskable).reshape(-1)
    following = np.minimum(np.arange(maskable.size) + lengths.reshape(-1), ends)
    starts = np.zeros(maskable.size, dtype=bool)
    frontier = np.flatnonzero(_run_starts(maskable))  # one position in every run, moved span by span
    while frontier.size:
        starts[frontier] = True
        moved = following[frontier]
        frontier = moved[moved < ends[frontier]]
    return starts.reshape(maskable.shape)


def choose_units(maskable: Flags, starts: Flags, budget: Ints, keys: NDArray[np.uint32]) -> Flags:
    """Take units in the order of the keys at their starts, where they fit into what is left of the budget; [B, S]."""
    flat = maskable.reshape(-1)
    unit_of = np.cumsum(starts.reshape(-1)) - 1  # valid where maskable
    unit_rows = np.nonzero(starts)[0]  # [U], ascending
    unit_lengths = np.bincount(unit_of[flat], minlength=len(unit_rows))  # [U]
    order = np.argsort(unit_rows.astype(np.uint64) << np.uint64(32) | keys[starts], kind="stable")
    counts = np.bincount(unit_rows, minlength=len(budget))
    ranks = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    table = np.zeros((len(budget), int(counts.max(initial=0))), dtype=np.int64)
    table[unit_rows, ranks] = unit_lengths[order]
    taken = np.zeros(len(unit_rows), dtype=bool)
    taken[order] = _take_while_fitting(table, budget)[unit_rows, ranks]
    chosen = np.zeros(maskable.size, dtype=bool)
    chosen[flat] = taken[unit_of[flat]]
    return chosen.reshape(maskable.shape)


def _take_while_fitting(lengths: Ints, budget: Ints) -> Flags:
    """For each row of unit lengths [B, units] (0: none) which ones are taken, going from left to right."""
    taken = np.zeros(lengths.shape, dtype=bool)
    left = budget.copy()
    for j in range(lengths.shape[1]):
        fits = (lengths[:, j] > 0) & (lengths[:, j] <= left)
        taken[:, j] = fits
        left -= np.where(fits, lengths[:, j], 0)
        if not left.any():
            break
    return taken


def _run_starts(maskable: Flags) -> Flags:
    starts = maskable.copy()
    starts[:, 1:] &= ~maskable[:, :-1]
    return starts


def _run_ends(maskable: Flags) -> Ints:
    """For each maskable position the flat index just behind its run; [B, S]."""
    size = maskable.size
    index = np.arange(size).reshape(maskable.shape)
    behind = np.zeros(maskable.shape, dtype=bool)
    behind[:, :-1] = ~maskable[:, 1:]
    behind[:, -1] = True
    ends = np.where(maskable & behind, index + 1, size).reshape(-1)
    return np.minimum.accumulate(ends[::-1])[::-1].reshape(maskable.shape)
