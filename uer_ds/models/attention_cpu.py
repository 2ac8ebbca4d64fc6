"""Attention on the CPU: a few documents at a time, so that their scores stay in the cache, forward and backward.

Computes softmax(scale * q k^T + bias) v with dropout on the softmax, for the blocks of a `Plan`. Scores are computed
again in the backward pass; kept are the inputs, and one byte for each score where there is dropout. Two to five times
faster than torch's kernels here, most of all with dropout or a trained bias. B rows, Q queries, K keys, A heads, D
width of a head; a block is g documents and a heads. Vectors of width D are taken from and put back into the rows line
by line (see `plan`), whole blocks at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from uer_ds.models.attention_plan import Block, Plan
from uer_ds.models.dropout import keep_mask, noise

BLOCK_SCORES = 2**20
"""Scores of a block: 2 MiB in bfloat16."""


def attend_on_cpu(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bias: Tensor | None,
    plan: Plan,
    scale: float,
    dropout: float,
) -> Tensor:
    """query [B, Q, A, D], key and value [B, K, A, D], bias [1, A, Q, K] or None -> [B, Q, A, D].

    `bias` is added to the scaled scores and must depend on the difference of places only; queries in no block get
    zeros.
    """
    return _Attention.apply(query, key, value, bias, plan, scale, dropout)


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        bias: Tensor | None,
        plan: Plan,
        scale: float,
        dropout: float,
    ) -> Tensor:
        cut = plan.blocks(query.size(2), BLOCK_SCORES)
        lines = _lines(query), _lines(key), _lines(value)
        out = _Results.of(lines[0], [block.queries for block in cut.blocks])
        kept: list[Tensor] = []
        for block in cut.blocks:
            weights = _weights(block, lines[0], lines[1], bias, scale)  # [g * a, Q, K]
            if dropout:
                kept.append(keep_mask(weights.shape, dropout))
                weights = weights.mul_(noise(kept[-1], dropout, weights.dtype))
            torch.bmm(weights, _take(lines[2], block.keys), out=out.next(block.queries))
        ctx.save_for_backward(query, key, value, bias, *kept)
        ctx.plan, ctx.scale, ctx.dropout = plan, scale, dropout
        return out.in_rows(cut.query_places).view_as(query)

    @staticmethod
    def backward(ctx: Any, out_grad: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, bias, *kept = ctx.saved_tensors
        cut, scale = ctx.plan.blocks(query.size(2), BLOCK_SCORES), ctx.scale
        lines = _lines(query), _lines(key), _lines(value)
        upstream_lines = _lines(out_grad)
        query_grad = _Results.of(lines[0], [block.queries for block in cut.blocks])
        key_grad, value_grad = (_Results.of(lines[1], [block.keys for block in cut.blocks]) for _ in range(2))
        bias_grad = None if bias is None else torch.zeros_like(bias, dtype=torch.float32)
        for number, block in enumerate(cut.blocks):
            weights = _weights(block, lines[0], lines[1], bias, scale)  # [g * a, Q, K]
            upstream = _take_real(upstream_lines, block)  # [g * a, Q, D]
            weights_grad = torch.bmm(upstream, _take(lines[2], block.keys).transpose(1, 2))  # [g * a, Q, K]
            dropped = weights
            if ctx.dropout:
                factors = noise(kept[number], ctx.dropout, weights.dtype)
                weights_grad.mul_(factors)
                dropped = factors.mul_(weights)
            torch.bmm(dropped.transpose(1, 2), upstream, out=value_grad.next(block.keys))
            scores_grad = torch.ops.aten._softmax_backward_data(weights_grad, weights, -1, weights.dtype)
            if bias_grad is not None:
                _bias_of(bias_grad, block).add_(scores_grad.unflatten(0, block.queries.shape[:2]).sum(0))
            _scaled_bmm(scores_grad, _take(lines[1], block.keys), scale, query_grad.next(block.queries))
            _scaled_bmm(scores_grad.transpose(1, 2), _take(lines[0], block.queries), scale, key_grad.next(block.keys))
        return (
            query_grad.in_rows(cut.query_places).view_as(query),
            key_grad.in_rows(cut.key_places).view_as(key),
            value_grad.in_rows(cut.key_places).view_as(value),
            None if bias is None or bias_grad is None else bias_grad.to(bias.dtype),
            None,
            None,
            None,
        )


def _lines(rows: Tensor) -> Tensor:
    """[B, S, A, D] -> [B * S * A, D]"""
    return rows.reshape(-1, rows.size(-1))


def _take(lines: Tensor, numbers: Tensor) -> Tensor:
    """Lines [N * A, D] by their numbers [g, a, Q] -> [g * a, Q, D]"""
    return lines.index_select(0, numbers.view(-1)).view(-1, numbers.size(2), lines.size(1))


def _take_real(lines: Tensor, block: Block) -> Tensor:
    """Lines of the block's queries, zeros where a document has none: [g * a, Q, D]."""
    taken = _take(lines, block.queries)
    if block.real is not None:
        taken.unflatten(0, block.queries.shape[:2]).mul_(block.real)
    return taken


def _scaled_bmm(left: Tensor, right: Tensor, scale: float, out: Tensor | None = None) -> Tensor:
    """scale * left right, for each of the first dimension."""
    unused = left.new_empty(1, 1, 1)
    return torch.baddbmm(unused, left, right, beta=0, alpha=scale, out=out)


def _weights(block: Block, queries: Tensor, keys: Tensor, bias: Tensor | None, scale: float) -> Tensor:
    """The softmax of the scores: [g * a, Q, K]."""
    scores = _scaled_bmm(_take(queries, block.queries), _take(keys, block.keys).transpose(1, 2), scale)
    by_head = scores.unflatten(0, block.queries.shape[:2])  # [g, a, Q, K], a view
    if bias is not None:
        by_head += _bias_of(bias, block)
    if block.scores is not None:
        by_head += block.scores.to(scores.dtype)
    return torch.softmax(scores, dim=-1)


def _bias_of(bias: Tensor, block: Block) -> Tensor:
    """[1, A, Q, K] of the rows -> [a, Q, K] of the block, a view: a document's bias is that of the first places."""
    return bias[0, block.heads, : block.queries.size(2), : block.keys.size(2)]


class _Results:
    """What the blocks give, one behind the other, with a line of zeros behind them for the lines in no block."""

    def __init__(self, lines: Tensor):
        self._lines = lines
        self._start = 0

    @classmethod
    def of(cls, like: Tensor, numbers: Sequence[Tensor]) -> _Results:
        """Room for blocks of the lines `numbers`, in the type and width of `like`."""
        lines = like.new_empty(sum(each.numel() for each in numbers) + 1, like.size(1))
        lines[-1] = 0
        return cls(lines)

    def next(self, numbers: Tensor) -> Tensor:
        """The place of the next block: [g * a, Q, D], to be filled."""
        start, self._start = self._start, self._start + numbers.numel()
        return self._lines[start : self._start].view(-1, numbers.size(2), self._lines.size(1))

    def in_rows(self, places: Tensor) -> Tensor:
        """[N * A, D] of the rows."""
        return self._lines.index_select(0, places)
