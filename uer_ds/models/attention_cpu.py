"""Attention on the CPU: a few documents at a time, so that their scores stay in the cache, forward and backward.

Computes softmax(scale * q k^T + bias) v with dropout on the softmax, for the groups of a `plan`. Scores are computed
again in the backward pass; kept are the inputs, and one byte for each score where there is dropout. Two to five times
faster than torch's kernels here, most of all with dropout or a trained bias. B rows, Q queries, K keys, A heads, D
width of a head; a block is g documents and a heads of a group.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from uer_ds.models.dropout import keep_mask, noise
from uer_ds.models.plan import Group

BLOCK_SCORES = 2**20
"""Scores of a block: 2 MiB in bfloat16."""


def attend_on_cpu(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bias: Tensor | None,
    groups: Sequence[Group],
    scale: float,
    dropout: float,
) -> Tensor:
    """query [B, Q, A, D], key and value [B, K, A, D], bias [1, A, Q, K] or None -> [B, Q, A, D].

    `bias` is added to the scaled scores and must depend on the difference of places only; queries in no group get
    zeros.
    """
    return _Attention.apply(query, key, value, bias, groups, scale, dropout)


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        bias: Tensor | None,
        groups: Sequence[Group],
        scale: float,
        dropout: float,
    ) -> Tensor:
        out = _Rows.like(query)
        kept: list[Tensor] = []
        for block in _blocks(groups, query.size(2)):
            weights = block.weights(query, key, bias, scale)  # [g, a, Q, K]
            if dropout:
                kept.append(keep_mask(weights.shape, dropout))
                weights = weights.mul_(noise(kept[-1], dropout, weights.dtype))
            out.put(weights @ block.keys_of(value), block)
        ctx.save_for_backward(query, key, value, bias, *kept)
        ctx.groups, ctx.scale, ctx.dropout = groups, scale, dropout
        return out.rows()

    @staticmethod
    def backward(ctx: Any, out_grad: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, bias, *kept = ctx.saved_tensors
        query_grad, key_grad, value_grad = _Rows.like(query), _Rows.like(key), _Rows.like(value)
        bias_grad = None if bias is None else torch.zeros_like(bias, dtype=torch.float32)
        for number, block in enumerate(_blocks(ctx.groups, query.size(2))):
            weights = block.weights(query, key, bias, ctx.scale)  # [g, a, Q, K]
            upstream = block.queries_of(out_grad, zero_nowhere=True)  # [g, a, Q, D]
            weights_grad = upstream @ block.keys_of(value).transpose(-1, -2)  # [g, a, Q, K]
            if ctx.dropout:
                factors = noise(kept[number], ctx.dropout, weights.dtype)
                weights_grad.mul_(factors)
                value_grad.put_keys((factors.mul_(weights)).transpose(-1, -2) @ upstream, block)
            else:
                value_grad.put_keys(weights.transpose(-1, -2) @ upstream, block)
            scores_grad = torch.ops.aten._softmax_backward_data(weights_grad, weights, -1, weights.dtype)
            if bias_grad is not None:
                block.bias_of(bias_grad).add_(scores_grad.sum(0))
            scores_grad.mul_(ctx.scale)
            query_grad.put(scores_grad @ block.keys_of(key), block)
            key_grad.put_keys(scores_grad.transpose(-1, -2) @ block.queries_of(query), block)
        bias_found = None if bias is None or bias_grad is None else bias_grad.to(bias.dtype)
        return query_grad.rows(), key_grad.rows(), value_grad.rows(), bias_found, None, None, None


@dataclass(frozen=True)
class _Block:
    """Some documents and heads of a group."""

    group: Group
    members: slice
    heads: slice

    def queries_of(self, rows: Tensor, zero_nowhere: bool = False) -> Tensor:
        """[B, Q, A, D] -> [g, a, Q, D]; behind the ends of documents anything, or zeros."""
        return self._gather(rows, self.group.queries[self.members], zero_nowhere)

    def keys_of(self, rows: Tensor) -> Tensor:
        """[B, K, A, D] -> [g, a, K, D]"""
        return self._gather(rows, self.group.keys[self.members], False)

    def _gather(self, rows: Tensor, places: Tensor, zero_nowhere: bool) -> Tensor:
        flat = rows.flatten(0, 1)
        found = flat[places.clamp(max=len(flat) - 1) if self.group.ragged else places]  # [g, Q, A, D]
        found = found[:, :, self.heads].transpose(1, 2)
        if zero_nowhere and self.group.ragged:
            return found * (places < len(flat))[:, None, :, None].to(found.dtype)
        return found

    def bias_of(self, bias: Tensor) -> Tensor:
        """[1, A, Q, K] of the rows -> [a, Q, K] of the block, a view: a document's bias is that of the first places."""
        return bias[0, self.heads, : self.group.queries.size(1), : self.group.keys.size(1)]

    def weights(self, query: Tensor, key: Tensor, bias: Tensor | None, scale: float) -> Tensor:
        """The softmax of the scores: [g, a, Q, K]."""
        scores = (self.queries_of(query) * scale) @ self.keys_of(key).transpose(-1, -2)
        if bias is not None:
            scores += self.bias_of(bias)
        hidden = self.group.scores
        if hidden is not None:
            mine = hidden if len(hidden) == 1 else hidden[self.members]
            scores += mine.unsqueeze(1).to(scores.dtype)
        return torch.softmax(scores, dim=-1)


def _blocks(groups: Sequence[Group], heads: int) -> Iterator[_Block]:
    """Blocks of at most `BLOCK_SCORES` scores (or one head of one document)."""
    for group in groups:
        area = group.queries.size(1) * group.keys.size(1)
        some_heads = max(1, min(heads, BLOCK_SCORES // area))
        some_members = max(1, BLOCK_SCORES // (area * heads))
        for member in range(0, len(group.queries), some_members):
            for head in range(0, heads, some_heads):
                yield _Block(group, slice(member, member + some_members), slice(head, head + some_heads))


class _Rows:
    """Results by place in the flattened rows, with one place more for what belongs nowhere."""

    def __init__(self, shape: torch.Size, places: Tensor):
        self.shape = shape
        self.places = places

    @classmethod
    def like(cls, rows: Tensor) -> _Rows:
        """Zeros for rows [B, Q, A, D]."""
        return cls(rows.shape, rows.new_zeros(rows.size(0) * rows.size(1) + 1, *rows.shape[2:]))

    def put(self, found: Tensor, block: _Block) -> None:
        """Results of queries: [g, a, Q, D]."""
        self._put(found, block.group.queries[block.members], block.heads)

    def put_keys(self, found: Tensor, block: _Block) -> None:
        """Results of keys: [g, a, K, D]."""
        self._put(found, block.group.keys[block.members], block.heads)

    def _put(self, found: Tensor, places: Tensor, heads: slice) -> None:
        self.places[:, heads].index_copy_(0, places.flatten(), found.transpose(1, 2).flatten(0, 1))

    def rows(self) -> Tensor:
        """[B, Q, A, D]"""
        return self.places[:-1].view(self.shape)
