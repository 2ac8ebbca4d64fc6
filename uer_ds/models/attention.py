"""Attention: who sees whom (`Visibility`), the one function that computes it (`attend`), and the layer around it.

B rows, Q queries, K keys (equal in self-attention, then S), A heads, G key/value heads, D width of a head.
`attend` chooses the kernel; nothing else in the package knows how attention is computed. A mask is made at most once
for a forward pass, and not at all where nothing is hidden.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from uer_ds.models.layers import Linear
from uer_ds.models.positions import rotate


@dataclass(frozen=True)
class Visibility:
    """Which keys each query sees.

    Attributes:
        kind: "fully_visible": keys that are not padding; "causal": keys that are not to the right (padding lies to
            the right of all tokens, so it needs no rule of its own); "causal_with_prefix": keys of segment 1, and
            other tokens that are not to the right.
        segments: [B, K], segment of each key, 0 for padding.
        documents: [B, K] or None, document number of each key; queries see their own document only.
        query_documents: [B, Q], where queries are not the keys (a decoder that reads its encoder); None: `documents`.

    A query that would see nothing (a row of padding) sees everything, as in UER-py.
    """

    kind: str
    segments: Tensor
    documents: Tensor | None = None
    query_documents: Tensor | None = None

    @property
    def is_plain_causal(self) -> bool:
        """True when the order of the positions alone decides, so kernels need no mask."""
        return self.kind == "causal" and self.documents is None

    @property
    def mask(self) -> Tensor | None:
        """[B, 1, Q or 1, K] bool, True where the query sees the key; None: nothing is hidden, or `is_plain_causal`."""
        if self.is_plain_causal or (self.kind == "fully_visible" and self._nothing_hidden):
            return None
        return self._visible

    def hide(self, bias: Tensor) -> Tensor:
        """Additive scores `bias` [1, A, Q, K] with -inf where the query does not see the key: [1 or B, A, Q, K]."""
        if self.kind == "fully_visible" and self._nothing_hidden:
            return bias
        return bias.masked_fill(~self._visible, -torch.inf)

    @cached_property
    def _nothing_hidden(self) -> bool:
        """Looked up on the CPU only: on an accelerator the question would cost more than a needless mask."""
        if self.segments.device.type != "cpu" or not bool((self.segments > 0).all()):
            return False
        if self.documents is None:
            return True
        queries = self.documents if self.query_documents is None else self.query_documents
        first = self.documents[:, :1]
        return bool((self.documents == first).all() and (queries == first).all())

    @cached_property
    def _visible(self) -> Tensor:
        token = (self.segments > 0)[:, None, None, :]  # [B, 1, 1, K]
        if self.kind == "fully_visible":
            visible = token
        else:
            keys = torch.arange(self.segments.size(1), device=self.segments.device)
            visible = (keys <= keys[:, None])[None, None]  # [1, 1, S, S]
        if self.kind == "causal_with_prefix":
            visible = (visible & token) | (self.segments == 1)[:, None, None, :]  # [B, 1, S, S]
        if self.documents is not None:
            queries = self.documents if self.query_documents is None else self.query_documents
            visible = visible & (queries[:, None, :, None] == self.documents[:, None, None, :])
        return visible | ~visible.any(-1, keepdim=True)


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    visibility: Visibility,
    scale: float,
    bias: Tensor | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """softmax(scale * query key^T + bias) value.

    Args:
        query: [B, A, Q, D]; key and value: [B, A, K, D].
        visibility: who sees whom; ignored where `bias` is given.
        bias: [1 or B, A, Q, K], added to the scaled scores; it already went through `visibility.hide`.
        dropout: probability of dropping an attention weight.

    Returns: [B, A, Q, D].
    """
    if bias is not None:
        return F.scaled_dot_product_attention(query, key, value, bias.to(query.dtype), dropout, scale=scale)
    mask = visibility.mask
    causal = visibility.is_plain_causal
    return F.scaled_dot_product_attention(query, key, value, mask, dropout, is_causal=causal, scale=scale)


def attend_with_scores(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    visibility: Visibility,
    scale: float,
    bias: Tensor | None,
    dropout: float,
    previous_scores: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """As `attend`, for residual attention: scores of the layer before are added, and these scores [B, A, Q, K]
    returned.

    Costs a [B, A, Q, K] tensor for each layer; no fused kernel gives its scores away.
    """
    scores = torch.matmul(query, key.transpose(-1, -2)) * scale  # [B, A, Q, K]
    if bias is None:
        scores = visibility.hide(scores)
    else:
        scores = scores + bias
    if previous_scores is not None:
        scores = scores + previous_scores
    weights = F.dropout(torch.softmax(scores.float(), dim=-1).to(value.dtype), dropout)
    return torch.matmul(weights, value), scores


class MultiHeadedAttention(nn.Module):
    """Projections to queries, keys and values, `attend`, and the projection back."""

    def __init__(
        self,
        hidden_size: int,
        heads_num: int,
        head_size: int,
        dropout: float,
        kv_heads_num: int | None = None,
        bias: bool = True,
        scaled: bool = True,
    ):
        super().__init__()
        kv_heads_num = kv_heads_num or heads_num
        widths = (heads_num * head_size, kv_heads_num * head_size, kv_heads_num * head_size)
        self.linear_layers = nn.ModuleList(Linear(hidden_size, width, bias) for width in widths)
        self.final_linear = Linear(heads_num * head_size, hidden_size, bias, ends_branch=True)
        self.head_size = head_size
        self.queries_per_key = heads_num // kv_heads_num
        self.scale = 1.0 / math.sqrt(head_size) if scaled else 1.0
        self.dropout = dropout

    def forward(
        self,
        queries_from: Tensor,
        keys_from: Tensor,
        bias: Tensor | None = None,
        rotation: Tensor | None = None,
        *,
        visibility: Visibility,
    ) -> Tensor:
        """[B, Q, H], [B, K, H] -> [B, Q, H]; `rotation`: see `rotate`."""
        query, key, value = self._heads(queries_from, keys_from, rotation)
        dropout = self.dropout if self.training else 0.0
        context = attend(query, key, value, visibility, self.scale, bias, dropout)
        return self.final_linear(context.transpose(1, 2).flatten(2))

    def _heads(self, queries_from: Tensor, keys_from: Tensor, rotation: Tensor | None) -> list[Tensor]:
        """Query [B, A, Q, D], key and value [B, A, K, D]."""
        inputs = (queries_from, keys_from, keys_from)
        heads = [self._split(linear(x)) for linear, x in zip(self.linear_layers, inputs, strict=True)]
        if rotation is not None:
            heads[:2] = (rotate(heads[0], rotation), rotate(heads[1], rotation))
        if self.queries_per_key > 1:
            heads[1:] = (x.repeat_interleave(self.queries_per_key, dim=1) for x in heads[1:])
        return heads

    def _split(self, x: Tensor) -> Tensor:
        """[B, S, heads * D] -> [B, heads, S, D], a view."""
        return x.unflatten(-1, (-1, self.head_size)).transpose(1, 2)


class ResidualAttention(MultiHeadedAttention):
    """RealFormer's attention: each layer adds the scores of the layer before."""

    def forward(  # type: ignore[override]
        self,
        hidden: Tensor,
        previous_scores: Tensor | None,
        bias: Tensor | None = None,
        rotation: Tensor | None = None,
        *,
        visibility: Visibility,
    ) -> tuple[Tensor, Tensor]:
        """[B, S, H], [B, A, S, S] -> [B, S, H], [B, A, S, S]"""
        query, key, value = self._heads(hidden, hidden, rotation)
        dropout = self.dropout if self.training else 0.0
        context, scores = attend_with_scores(query, key, value, visibility, self.scale, bias, dropout, previous_scores)
        return self.final_linear(context.transpose(1, 2).flatten(2)), scores
