"""The matrix onto the vocabulary, and its loss without the [N, V] matrix of logits.

N predicted positions, H width, V vocabulary. Logits exist for some hundred positions at a time (a chunk) and become
their own gradient in place, in the forward pass, so nothing is computed twice. Cost: a second matrix of V x H until
the backward pass.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from uer_ds.models.layers import Linear
from uer_ds.models.products import linear, matmul, weight_gradient

CHUNK_ELEMENTS = 2**24
"""Logits that exist at a time: 32 MiB in bfloat16."""

STRIP_ELEMENTS = 2**20
"""Logits that are in float32 at a time: 4 MiB, which the cache of a CPU holds."""


class VocabularyLinear(Linear):
    """H -> V. Given labels, it answers with the loss instead of the logits.

    The loss is computed inside the module's own forward, and the module runs once whatever the number of predictions:
    under ZeRO-3 all ranks then gather this matrix equally often.
    """

    def forward(  # type: ignore[override]
        self, hidden: Tensor, labels: Tensor | None = None, label_smoothing: float = 0.0
    ) -> Tensor | tuple[Tensor, Tensor]:
        """[N, H] -> logits [N, V]; or with `labels` [N] int64 -> (summed loss, right predictions), float32 scalars."""
        if labels is None:
            return linear(hidden, self.weight, self.bias)
        loss, correct = _SummedCrossEntropy.apply(hidden, self.weight, self.bias, labels, label_smoothing)
        return loss, correct


class _SummedCrossEntropy(torch.autograd.Function):
    """Sum over N of cross entropy(hidden W^T + b, label), computed in float32.

    Label smoothing s as UER-py: the gold label has weight 1 - s - e, all V others and itself e more. e is s / (V - 1).
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor, smoothing: float
    ) -> tuple[Tensor, Tensor]:
        sums = torch.zeros(2, device=hidden.device)  # loss, right predictions
        gradients = _Gradients(hidden, weight, bias) if any(ctx.needs_input_grad) else None
        rows = max(1, CHUNK_ELEMENTS // weight.size(0))
        for start in range(0, len(hidden), rows):
            logits = linear(hidden[start : start + rows], weight, bias)  # [n, V]
            strip = len(logits) if logits.device.type != "cpu" else max(1, STRIP_ELEMENTS // weight.size(0))
            for strip_logits, gold in zip(logits.split(strip), labels[start : start + rows].split(strip), strict=True):
                found, gradient = _loss_and_gradient(strip_logits.float(), gold.unsqueeze(1), smoothing)
                sums += found
                if gradients is not None:
                    gradients.add_strip(gradient)
                    strip_logits.copy_(gradient)
            if gradients is not None:
                gradients.add_chunk(start, logits)
        ctx.gradients = gradients
        loss, correct = sums.unbind()
        ctx.mark_non_differentiable(correct)
        return loss, correct

    @staticmethod
    def backward(ctx: Any, loss_grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        gradients = ctx.gradients
        ctx.gradients = None
        return (*gradients.scaled(loss_grad), None, None)


def _loss_and_gradient(logits: Tensor, gold: Tensor, smoothing: float) -> tuple[Tensor, Tensor]:
    """[loss, right predictions] and d loss / d logits [n, V] of float32 `logits` [n, V]; `gold` is [n, 1]."""
    size = logits.size(1)
    spread = smoothing / (size - 1)
    gradient = torch.softmax(logits, dim=-1)
    of_gold = logits.gather(1, gold)
    if logits.device.type == "cpu":  # where a maximum's place costs ten times its value: see bench/products.py
        highest, likeliest = logits.amax(dim=-1, keepdim=True), gradient.amax(dim=-1, keepdim=True)
        hit = (of_gold == highest).squeeze(1)  # others are wrong, whatever the place
        right = (logits[hit].argmax(dim=-1, keepdim=True) == gold[hit]).sum()
    else:
        likeliest, best = gradient.max(dim=-1, keepdim=True)
        highest, right = logits.gather(1, best), (best == gold).sum()
    log_sums = highest - likeliest.log()  # the likeliest is at least 1 / V, so its logarithm is exact enough
    loss = (1 - smoothing - spread) * (log_sums - of_gold).sum()
    if smoothing:
        loss = loss + spread * (size * log_sums.sum() - logits.sum())
        gradient.sub_(spread)
    gradient.scatter_add_(1, gold, gradient.new_full(gold.shape, -(1 - smoothing - spread)))
    return torch.stack((loss, right)), gradient


class _Gradients:
    """Gradients of hidden, weight and bias, collected over the chunks; in float32 where there are several."""

    def __init__(self, hidden: Tensor, weight: Tensor, bias: Tensor | None):
        self.source, self.matrix, self.offset = hidden, weight, bias
        self.hidden = torch.empty_like(hidden)
        self.weight: Tensor | None = None
        self.bias = None if bias is None else torch.zeros_like(bias, dtype=torch.float32)

    def add_strip(self, gradient: Tensor) -> None:
        """Some rows of d loss / d logits in float32."""
        if self.bias is not None:
            self.bias += gradient.sum(0)

    def add_chunk(self, start: int, gradient: Tensor) -> None:
        """d loss / d logits [n, V] of the rows from `start` on, in the type of the matrix."""
        rows = slice(start, start + len(gradient))
        self.hidden[rows] = matmul(gradient, self.matrix)
        weight = weight_gradient(gradient, self.source[rows])
        self.weight = weight if self.weight is None else self.weight.float().add_(weight)

    def scaled(self, factor: Tensor) -> tuple[Tensor | None, ...]:
        """All three times the scalar `factor`, in the types of what they belong to."""
        weight = torch.zeros_like(self.matrix) if self.weight is None else self.weight
        pairs = ((self.hidden, self.source), (weight, self.matrix), (self.bias, self.offset))
        return tuple(
            None if found is None or like is None else found.mul_(factor).to(like.dtype) for found, like in pairs
        )
