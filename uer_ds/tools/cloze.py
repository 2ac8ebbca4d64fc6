"""Blanks filled by a masked language model: the likeliest tokens at each [MASK]. B rows, S tokens, V vocabulary."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from uer_ds.data.batch import padded
from uer_ds.data.random import Draws, below
from uer_ds.models.model import Model
from uer_ds.tokenizers import Tokenizer
from uer_ds.tools.rows import Row


@dataclass(frozen=True)
class Blank:
    """One [MASK]: its place in the row, what might stand there with probabilities, and what did, if that is known."""

    place: int
    guesses: list[tuple[str, float]]
    answer: str | None


def fill(model: Model, tokenizer: Tokenizer, topn: int, seed: int) -> Callable[[list[Row]], list[list[Blank]]]:
    """What fills the blanks of rows; in a row without any, one token drawn by seed and line is taken out first."""
    mask, draws = int(tokenizer.special.mask or 0), Draws(seed, "cloze")

    @torch.no_grad()
    def answer(rows: list[Row]) -> list[list[Blank]]:
        places, hidden = list[list[int]](), list[list[int]]()
        for row in rows:
            found = [place for place, token in enumerate(row.ids) if token == mask]
            places.append(found or _drawn(draws, row))
            hidden.append([mask if place in places[-1] else token for place, token in enumerate(row.ids)])
        states = model.output(padded(hidden).to(next(model.parameters()).device))
        target: Any = model.target["mlm"]
        result = []
        for row, where, vectors in zip(rows, places, states, strict=True):
            some = vectors[torch.tensor(where, dtype=torch.int64, device=vectors.device)].unsqueeze(0)
            chances = target.logits(some, some)[0].float().softmax(-1)
            best = chances.topk(min(topn, chances.size(1)), dim=-1)
            result.append([_blank(tokenizer, row, at, *pair) for at, *pair in zip(where, *best, strict=True)])
        return result

    def _blank(tokenizer: Tokenizer, row: Row, place: int, chances: Any, tokens: Any) -> Blank:
        spelt = [tokenizer.tokens[token] for token in tokens.tolist()]
        known = None if row.ids[place] == mask else tokenizer.tokens[row.ids[place]]
        return Blank(place, list(zip(spelt, chances.tolist(), strict=True)), known)

    return answer


def _drawn(draws: Draws, row: Row) -> list[int]:
    """A place between [CLS] and [SEP]; none in an empty row."""
    if len(row.ids) < 3:
        return []
    word = draws.words(np.zeros(1, dtype=np.int64), np.array([row.number]), 1)[0]
    return [1 + int(below(word, len(row.ids) - 2)[0])]
