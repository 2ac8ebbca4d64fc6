"""From scores to the next token: pure functions on logits [B, V] float32, -inf for what must not come.

B rows, V vocabulary, K tokens a row so far.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from uer_ds.config.generate import DecodingConfig
from uer_ds.data.random import Draws

HALF_WORD = 2.0**-32


def filtered(logits: Tensor, sampling: DecodingConfig, written: Sequence[Sequence[int]]) -> Tensor:
    """Everything that `sampling` says about scores except how one is drawn. `written`: the tokens of each row."""
    if sampling.repetition_penalty != 1.0:
        logits = penalise_repetition(logits, written, sampling.repetition_penalty)
    if sampling.no_repeat_ngram_size:
        logits = forbid_repeated_ngrams(logits, written, sampling.no_repeat_ngram_size)
    return logits


def narrowed(logits: Tensor, sampling: DecodingConfig) -> Tensor:
    """What is left to draw from: temperature, then top-k, top-p, min-p."""
    logits = logits / sampling.temperature
    if sampling.top_k:
        logits = keep_top_k(logits, sampling.top_k)
    if sampling.top_p:
        logits = keep_top_p(logits, sampling.top_p)
    if sampling.min_p:
        logits = keep_min_p(logits, sampling.min_p)
    return logits


def penalise_repetition(logits: Tensor, written: Sequence[Sequence[int]], penalty: float) -> Tensor:
    """Scores of tokens that a row has already, divided by `penalty` when positive, else multiplied.

    Keskar et al., "CTRL", 2019, section 4.1.
    """
    logits = logits.clone()
    for row, ids in enumerate(written):
        seen = torch.tensor(sorted(set(ids)), device=logits.device, dtype=torch.int64)
        found = logits[row, seen]
        logits[row, seen] = torch.where(found > 0, found / penalty, found * penalty)
    return logits


def forbid_repeated_ngrams(logits: Tensor, written: Sequence[Sequence[int]], size: int) -> Tensor:
    """-inf for tokens that would complete a run of `size` tokens which the row has already."""
    logits = logits.clone()
    for row, ids in enumerate(written):
        start = tuple(ids[len(ids) - size + 1 :])
        runs = zip(*(ids[shift:] for shift in range(size)), strict=False)
        banned = [run[-1] for run in runs if run[:-1] == start]
        if banned and len(start) == size - 1:
            logits[row, banned] = -torch.inf
    return logits


def keep_top_k(logits: Tensor, count: int) -> Tensor:
    """-inf for all but the `count` highest of each row (and those equal to the lowest of them)."""
    lowest = logits.topk(min(count, logits.size(1)), dim=-1).values[:, -1:]
    return logits.masked_fill(logits < lowest, -torch.inf)


def keep_top_p(logits: Tensor, share: float) -> Tensor:
    """-inf for all behind the fewest tokens whose probabilities reach `share` together.

    Nucleus sampling (Holtzman et al., "The curious case of neural text degeneration", 2020); the likeliest token always
    stays.
    """
    ordered, places = logits.sort(dim=-1, descending=True)
    before = ordered.softmax(-1).cumsum(-1).roll(1, dims=-1)
    before[:, 0] = 0.0
    removed = torch.zeros_like(logits, dtype=torch.bool).scatter_(1, places, before > share)
    return logits.masked_fill(removed, -torch.inf)


def keep_min_p(logits: Tensor, share: float) -> Tensor:
    """-inf for tokens less likely than `share` times the likeliest one (Nguyen et al., "min-p sampling", 2024)."""
    probabilities = logits.softmax(-1)
    return logits.masked_fill(probabilities < share * probabilities.amax(-1, keepdim=True), -torch.inf)


def draw(logits: Tensor, uniform: Tensor) -> Tensor:
    """[B] token ids: of each row the first one at which its cumulated probability exceeds `uniform` [B], in [0, 1)."""
    cumulated = logits.double().softmax(-1).cumsum(-1)
    wanted = uniform.to(cumulated).unsqueeze(1) * cumulated[:, -1:]
    found = torch.searchsorted(cumulated, wanted, right=True).squeeze(1)
    return found.clamp(max=logits.size(1) - 1)


class Uniforms:
    """Numbers in [0, 1) that belong to a seed, a text and a place in it, whatever else is generated beside it."""

    def __init__(self, seed: int):
        self._draws = Draws(seed, "generation")

    def at(self, texts: Sequence[int], place: int) -> Tensor:
        """[B] float64 for the texts with these numbers."""
        numbers = np.asarray(texts)
        words = self._draws.words_at(np.zeros_like(numbers), numbers, np.full_like(numbers, place))
        return torch.from_numpy(words[:, 0].astype(np.float64) * HALF_WORD)
