"""Attention: the one function that computes it (`attend`), and the layer around it.

B rows, Q queries, K keys (equal in self-attention, then S), A heads, G key/value heads, D width of a head.
`attend` chooses the kernel; nothing else in the package knows how attention is computed. A mask is made at most once
for a forward pass, and not at all where nothing is hidden.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from uer_ds.models.attention_cpu import attend_on_cpu
from uer_ds.models.attention_flash import attend_by_flash, can_attend_by_flash
from uer_ds.models.dropout import dropout as drop
from uer_ds.models.layers import Linear
from uer_ds.models.positions import rotate
from uer_ds.models.visibility import Visibility


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    visibility: Visibility,
    scale: float,
    bias: Tensor | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """softmax(scale * query key^T + bias) value, for each head.

    Args:
        query: [B, Q, A, D]; key and value: [B, K, A, D].
        visibility: who sees whom.
        bias: what `bias_for` made, added to the scaled scores.
        dropout: probability of dropping an attention weight.

    Returns: [B, Q, A, D].
    """
    if _is_computed_here(query, query.size(1)):
        return attend_on_cpu(query, key, value, bias, visibility.plan, scale, dropout)
    if can_attend_by_flash(query, visibility, bias):
        return attend_by_flash(query, key, value, visibility, scale, dropout)
    return attend_by_mask(query, key, value, visibility, scale, bias, dropout)


def bias_for(bias: Tensor, visibility: Visibility) -> Tensor:
    """What `attend` takes for `bias` [1, A, Q, K], which depends on the difference of places only.

    The same, or where torch's kernels compute, [1 or B, A, Q, K] with -inf for what is hidden. That is as large as all
    scores of a layer, so it is made once for all layers.
    """
    return bias if _is_computed_here(bias, bias.size(2)) else visibility.hide(bias)


def _is_computed_here(tensor: Tensor, queries: int) -> bool:
    return tensor.device.type == "cpu" and queries > 1


def attend_by_mask(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    visibility: Visibility,
    scale: float,
    bias: Tensor | None,
    dropout: float,
) -> Tensor:
    """`attend` by torch's kernels, on any device; the mask costs memory where documents or a bias meet."""
    mask, causal = visibility.mask, visibility.is_plain_causal
    if bias is not None:
        mask, causal = bias.to(query.dtype), False
    query, key, value = (x.transpose(1, 2) for x in (query, key, value))
    context = F.scaled_dot_product_attention(query, key, value, mask, dropout, is_causal=causal, scale=scale)
    return context.transpose(1, 2)


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
    """As `attend`, for residual attention: adds the scores of the layer before, returns its own [B, A, Q, K] too.

    Costs a [B, A, Q, K] tensor for each layer; no fused kernel gives its scores away.
    """
    query, key, value = (x.transpose(1, 2) for x in (query, key, value))
    scores = torch.matmul(query, key.transpose(-1, -2)) * scale  # [B, A, Q, K]
    scores = visibility.hide(scores if bias is None else scores + bias)
    if previous_scores is not None:
        scores = scores + previous_scores
    weights = drop(torch.softmax(scores.float(), dim=-1).to(value.dtype), dropout, dropout > 0)
    return torch.matmul(weights, value).transpose(1, 2), scores


class WholeRows:
    """Where the tokens of a row are: all of them here. Another answer is put in from outside (`Model.share_rows`)."""

    def whole(self, values: Tensor) -> Tensor:
        """[B, S] of the tokens that are here -> [B, S] of the whole rows."""
        return values

    def own_heads(self, bias: Tensor) -> Tensor:
        """Of a bias [1, A, S, S] of whole rows, the heads for which `attend` computes here."""
        return bias

    def attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        visibility: Visibility,
        scale: float,
        bias: Tensor | None = None,
        dropout: float = 0.0,
    ) -> Tensor:
        """`attend` for the tokens that are here; `visibility` and `bias` are of whole rows, `bias` of `own_heads`."""
        return attend(query, key, value, visibility, scale, bias, dropout)


class MultiHeadedAttention(nn.Module):
    """Projections to queries, keys and values, `attend`, and the projection back."""

    rows = WholeRows()

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
        query, key, value = self._heads(queries_from, keys_from, rotation, visibility)
        dropout = self.dropout if self.training else 0.0
        context = self.rows.attend(query, key, value, visibility, self.scale, bias, dropout)
        return self.final_linear(context.flatten(2))

    def _heads(
        self, queries_from: Tensor, keys_from: Tensor, rotation: Tensor | None, visibility: Visibility
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Query [B, Q, A, D], key and value [B, K, A, D]."""

        def keys_and_values() -> tuple[Tensor, Tensor]:
            key, value = self._split(self.linear_layers[1](keys_from)), self._split(self.linear_layers[2](keys_from))
            return key if rotation is None else rotate(key, rotation), value

        query = self._split(self.linear_layers[0](queries_from))
        if rotation is not None:
            query = rotate(query, rotation)
        key, value = visibility.keys_and_values(keys_and_values)
        if self.queries_per_key > 1:
            key, value = (x.repeat_interleave(self.queries_per_key, dim=2) for x in (key, value))
        return query, key, value

    def _split(self, x: Tensor) -> Tensor:
        """[B, S, heads * D] -> [B, S, heads, D], a view."""
        return x.unflatten(-1, (-1, self.head_size))


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
        query, key, value = self._heads(hidden, hidden, rotation, visibility)
        dropout = self.dropout if self.training else 0.0
        context, scores = attend_with_scores(query, key, value, visibility, self.scale, bias, dropout, previous_scores)
        return self.final_linear(context.flatten(2)), scores
