"""Attention on a GPU over packed rows: flash attention told where documents begin, instead of a mask.

Documents lie one behind the other in the flattened rows, so queries, keys and values are read where they are, and the
work is the sum of the documents' squared lengths. The kernel is torch's own (Dao, "FlashAttention-2", arXiv
2307.08691) through the operator that torch's nested tensors use: `torch.nn.attention.varlen` knows no dropout. B rows,
Q queries, K keys, A heads, D width of a head.
"""

from __future__ import annotations

import torch
from torch import Tensor

from uer_ds.models.visibility import Visibility

WIDEST_HEAD = 256
HEAD_MULTIPLE = 8
DEVICES = ("cuda", "meta")
"""Where the operator exists; on the meta device it knows shapes, which shows without a GPU that all calls fit."""


def can_attend_by_flash(query: Tensor, visibility: Visibility, bias: Tensor | None) -> bool:
    """Whether `attend_by_flash` computes this: packed rows on a GPU in 16 bits, without bias or prefix."""
    return (
        query.device.type in DEVICES
        and query.dtype in (torch.bfloat16, torch.float16)
        and query.size(-1) % HEAD_MULTIPLE == 0
        and query.size(-1) <= WIDEST_HEAD
        and visibility.documents is not None
        and visibility.kind in ("fully_visible", "causal")
        and bias is None
    )


def attend_by_flash(
    query: Tensor, key: Tensor, value: Tensor, visibility: Visibility, scale: float, dropout: float
) -> Tensor:
    """softmax(scale * query key^T) value inside each document: [B, Q, A, D], [B, K, A, D] twice -> [B, Q, A, D].

    Padding attends to the padding of its row, or gets zeros where keys have none.
    """
    query_bounds, key_bounds = visibility.bounds
    context, *_ = torch.ops.aten._flash_attention_forward(
        *(x.flatten(0, 1) for x in (query, key, value)),
        query_bounds,
        key_bounds,
        query.size(1),  # no document is longer than its row; asking for the longest would wait for the GPU
        key.size(1),
        dropout,
        visibility.kind == "causal",
        False,
        scale=scale,
    )
    return context.view_as(query)
