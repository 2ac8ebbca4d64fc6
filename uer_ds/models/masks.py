"""The rules of visibility as masks. B rows, Q queries, K keys."""

from __future__ import annotations

import torch
from torch import Tensor


def visible_keys(kind: str, segments: Tensor, queries: int) -> Tensor:
    """[B or 1, Q or 1, K] bool of one document a row: the rule of `kind` for key segments [B, K] and Q queries."""
    token = (segments > 0).unsqueeze(1)  # [B, 1, K]
    if kind == "fully_visible":
        return token
    keys = torch.arange(segments.size(1), device=segments.device)
    before = (keys <= torch.arange(queries, device=segments.device)[:, None]).unsqueeze(0)  # [1, Q, K]
    if kind == "causal":
        return before
    assert kind == "causal_with_prefix", kind
    return (before & token) | (segments == 1).unsqueeze(1)


def see_something(visible: Tensor) -> Tensor:
    """Queries (rows of the last dimension) that see nothing see everything."""
    return visible | ~visible.any(-1, keepdim=True)
