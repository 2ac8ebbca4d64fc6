"""A conditional random field over tags (Lafferty et al. 2001), by the package pytorch-crf.

As in UER-py: parameters `output_layer.*` and `crf.*`; scores of a token are its log-softmax when the field is trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from uer_ds.data.batch import IGNORE, Batch, Terms
from uer_ds.errors import UserError
from uer_ds.finetune.heads import Head
from uer_ds.models.layers import Linear

IMPOSSIBLE = -1e9
"""A score that no sequence survives, and that float32 still adds to others."""


class CrfHead(Head):
    """K scores for every token and a field over the sequence. B rows, S tokens.

    `never`: numbers of tags that no answer contains.
    """

    def __init__(self, hidden_size: int, tags: int, never: Sequence[int] = ()):
        super().__init__()
        self.never = list(never)
        self.output_layer = Linear(hidden_size, tags)
        self.crf = _field(tags)
        self.terms = self._terms

    def scores(self, hidden: Tensor, batch: Batch) -> Tensor:
        """[B, S, H] -> [B, S, K]"""
        return self.output_layer(hidden).float()

    def _terms(self, scores: Tensor, batch: Batch) -> Terms:
        """Minus the log likelihood of the tags, divided by the number of rows (their label `row`)."""
        labels = batch.labels["tags"]
        mask = labels != IGNORE  # [B, S]; a row's tags come first
        likelihood = self.crf(torch.log_softmax(scores, -1), labels.clamp(min=0), mask=mask, reduction="none")
        correct = ((scores.argmax(-1) == labels) & mask).sum().float()
        rows = torch.full_like(correct, len(labels))
        return {"loss_row": (-likelihood.sum(), rows), "accuracy_tags": (correct, mask.sum().float())}

    def outputs(self, scores: Tensor, batch: Batch) -> Tensor:
        """The best sequence of tags, [B, S, K]: 1 at each token's tag; 0 where there is padding."""
        mask = batch.segments > 0
        mask[:, 0] = True  # the field wants at least one token
        scores = scores.clone()
        scores[..., self.never] = IMPOSSIBLE
        best = torch.zeros_like(scores)
        for row, tags in enumerate(self.crf.decode(scores, mask=mask)):
            best[row, range(len(tags)), tags] = 1.0
        return best


def _field(tags: int) -> Any:
    try:
        from torchcrf import CRF
    except ImportError as error:
        raise UserError("--crf_target needs the package pytorch-crf; `pip install pytorch-crf`.") from error
    return CRF(tags, batch_first=True)
