"""One vector for a row.

What classification heads read. Padding (segment 0) never counts, segment 2 counts like segment 1.
"""

from __future__ import annotations

import torch
from torch import Tensor


def pool(hidden: Tensor, segments: Tensor, pooling: str) -> Tensor:
    """[B, S, H], [B, S] -> [B, H].

    `pooling`: "first" token, "last" token that is not padding (the one to take behind a causal mask), "mean" or "max"
    over all tokens. A row of padding gives its first token, and zeros for the mean.
    """
    if pooling == "first":
        return hidden[:, 0]
    token = segments > 0  # [B, S]
    if pooling == "last":
        places = torch.arange(segments.size(1), device=segments.device)
        last = (places * token).argmax(1)  # [B]
        return hidden[torch.arange(len(hidden), device=hidden.device), last]
    if pooling == "mean":
        return (hidden * token.unsqueeze(-1)).sum(1) / token.sum(1, keepdim=True).clamp(min=1)
    assert pooling == "max"
    token = token | ~token.any(1, keepdim=True)
    return hidden.masked_fill(~token.unsqueeze(-1), -torch.inf).amax(1)
