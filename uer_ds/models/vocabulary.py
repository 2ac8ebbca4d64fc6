"""The matrix onto the vocabulary, and its loss without the [N, V] matrix of logits.

N predicted positions, H width, V vocabulary. Logits exist for a few hundred positions at a time; their gradient is
formed on the spot, in the forward pass, so nothing is computed twice. Cost: a second matrix of V x H until the
backward pass.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from uer_ds.models.layers import Linear

CHUNK_ELEMENTS = 2**24
"""Logits that exist at a time: 64 MiB in float32."""


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
            return F.linear(hidden, self.weight, self.bias)
        loss, correct = _SummedCrossEntropy.apply(hidden, self.weight, self.bias, labels, label_smoothing)
        return loss, correct


class _SummedCrossEntropy(torch.autograd.Function):
    """Sum over N of cross entropy(hidden W^T + b, label), computed in float32.

    Label smoothing s as UER-py: the gold label has weight 1 - s - e, all V others and itself e more, with e = s / (V
    - 1).
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor, smoothing: float
    ) -> tuple[Tensor, Tensor]:
        needed = any(ctx.needs_input_grad)
        loss = torch.zeros((), device=hidden.device)
        correct = torch.zeros((), device=hidden.device)
        gradients = _Gradients(hidden, weight, bias) if needed else None
        rows = max(1, CHUNK_ELEMENTS // weight.size(0))
        for start in range(0, len(hidden), rows):
            piece = hidden[start : start + rows]
            gold = labels[start : start + rows, None]  # [n, 1]
            logits = F.linear(piece, weight, bias).float()  # [n, V]
            log_sums = logits.logsumexp(-1, keepdim=True)  # [n, 1]
            loss += _smoothed_sum(logits, log_sums, gold, smoothing)
            correct += (logits.argmax(-1, keepdim=True) == gold).sum()
            if gradients is not None:
                gradients.add(start, _logit_gradient(logits, log_sums, gold, smoothing))
        ctx.gradients = gradients
        ctx.mark_non_differentiable(correct)
        return loss, correct

    @staticmethod
    def backward(ctx: Any, loss_grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        gradients = ctx.gradients
        ctx.gradients = None
        return (*gradients.scaled(loss_grad), None, None)


def _smoothed_sum(logits: Tensor, log_sums: Tensor, gold: Tensor, smoothing: float) -> Tensor:
    spread = smoothing / (logits.size(1) - 1)
    loss = (1 - smoothing - spread) * (log_sums - logits.gather(1, gold)).sum()
    if smoothing:
        loss = loss + spread * (logits.size(1) * log_sums.sum() - logits.sum())
    return loss


def _logit_gradient(logits: Tensor, log_sums: Tensor, gold: Tensor, smoothing: float) -> Tensor:
    """d loss / d logits [n, V], written over `logits`."""
    spread = smoothing / (logits.size(1) - 1)
    gradient = logits.sub_(log_sums).exp_()
    if smoothing:
        gradient.sub_(spread)
    return gradient.scatter_add_(1, gold, gradient.new_full(gold.shape, -(1 - smoothing - spread)))


class _Gradients:
    """Gradients of hidden, weight and bias, collected over the chunks (weight and bias in float32)."""

    def __init__(self, hidden: Tensor, weight: Tensor, bias: Tensor | None):
        self.source, self.matrix = hidden, weight
        self.hidden = torch.empty_like(hidden)
        self.weight = torch.zeros_like(weight, dtype=torch.float32)
        self.bias = None if bias is None else torch.zeros_like(bias, dtype=torch.float32)
        self.dtypes = (hidden.dtype, weight.dtype, None if bias is None else bias.dtype)

    def add(self, start: int, gradient: Tensor) -> None:
        """One chunk: `gradient` [n, V] of the rows from `start` on."""
        rows = slice(start, start + len(gradient))
        if self.bias is not None:
            self.bias += gradient.sum(0)
        gradient = gradient.to(self.matrix.dtype)
        self.hidden[rows] = gradient @ self.matrix
        if self.weight.dtype == gradient.dtype:
            self.weight.addmm_(gradient.T, self.source[rows])
        else:
            self.weight += gradient.T @ self.source[rows]

    def scaled(self, factor: Tensor) -> tuple[Tensor | None, ...]:
        """All three times the scalar `factor`, in the types of what they belong to."""
        found = (self.hidden, self.weight, self.bias)
        return tuple(
            None if grad is None else grad.mul_(factor).to(dtype)
            for grad, dtype in zip(found, self.dtypes, strict=True)
        )
