"""How near a weight must come back."""

from __future__ import annotations

import torch
from torch import Tensor


def within_one_place(found: Tensor, wanted: Tensor) -> bool:
    """Whether two tensors differ by at most one unit in the last place."""
    up, down = (torch.nextafter(wanted, torch.full_like(wanted, side)) for side in (torch.inf, -torch.inf))
    return bool(((found >= down) & (found <= up)).all())
