"""How well a model foretells texts: the sum of -log probability over their tokens.

A language model foretells each token from those before it, [SEP] too. A masked language model foretells each token from
all others, one masked at a time: pseudo-perplexity (Salazar et al., "Masked language model scoring", 2020), which costs
a row for every token. B rows, S tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from uer_ds.data.batch import padded
from uer_ds.errors import UserError
from uer_ds.models.model import Model
from uer_ds.tokenizers import Tokenizer
from uer_ds.tools.rows import Row

LOGITS = 2**24
"""Scores in memory at a time."""

Judged = tuple[float, int]
"""Sum of -log probability, and over how many tokens."""


def judge(model: Model, tokenizer: Tokenizer, batch_size: int) -> Callable[[list[Row]], list[Judged]]:
    """What judges rows. Raises UserError for a model that foretells no tokens of its own text."""
    if model.decoder is not None:
        raise UserError("a model with a decoder judges answers and not texts; give a language model or a masked one.")
    if "lm" in model.target:
        return lambda rows: foretold_from_before(model, [row.ids for row in rows])
    if "mlm" in model.target:
        tokenizer.require("mask")
        mask = int(tokenizer.special.mask or 0)
        return lambda rows: [foretold_from_around(model, row.ids, mask, batch_size) for row in rows]
    raise UserError(f"this model's target is {' '.join(model.target) or 'empty'}; expected lm or mlm.")


@torch.no_grad()
def foretold_from_before(model: Model, rows: list[list[int]]) -> list[Judged]:
    """Each token behind the first."""
    batch = padded(rows).to(next(model.parameters()).device)
    hidden = model.output(batch)  # [B, S, H]
    losses = []
    for states, ids in zip(hidden, rows, strict=True):
        gold = torch.tensor(ids[1:], device=states.device)
        losses.append((_loss(model, "lm", states[: len(ids) - 1], gold), len(gold)))
    return losses


@torch.no_grad()
def foretold_from_around(model: Model, ids: list[int], mask: int, batch_size: int) -> Judged:
    """Each token between [CLS] and [SEP]."""
    places = range(1, len(ids) - 1)
    total = 0.0
    for start in range(0, len(places), batch_size):
        some = list(places[start : start + batch_size])
        rows = [[*ids[:place], mask, *ids[place + 1 :]] for place in some]
        batch = padded(rows).to(next(model.parameters()).device)
        numbers = torch.arange(len(some), device=batch.ids.device)
        states = model.output(batch)[numbers, torch.tensor(some, device=batch.ids.device)]
        total += _loss(model, "mlm", states, torch.tensor([ids[place] for place in some], device=states.device))
    return total, len(places)


def _loss(model: Model, name: str, states: Tensor, gold: Tensor) -> float:
    """Of hidden vectors [N, H] whose tokens are `gold` [N]."""
    target: Any = model.target[name]
    count, total = max(1, LOGITS // (model.config.vocab_size or 1)), 0.0
    for some, tokens in zip(states.split(count), gold.split(count), strict=True):
        logits = target.logits(some.unsqueeze(0), tokens.unsqueeze(0))[0].float()
        total += float(F.cross_entropy(logits, tokens, reduction="sum"))
    return total
