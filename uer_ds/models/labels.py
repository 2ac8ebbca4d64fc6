"""`Labels`: what a target shall predict, and where."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from uer_ds.data.batch import IGNORE


@dataclass(frozen=True)
class Labels:
    """Labels of one name.

    Attributes:
        values: [B, S] or [B] int64, `IGNORE` where nothing is predicted.
        count: N, of the others, where the host knows it; None: it is asked of the device that holds them.
    """

    values: Tensor
    count: int | None = None

    @cached_property
    def places(self) -> Tensor:
        """[N] int64, ascending: where in the flattened `values` something is predicted."""
        here = (self.values != IGNORE).flatten()
        if self.count is None:
            return here.nonzero().squeeze(1)
        places = torch.arange(len(here), device=here.device)
        slots = torch.where(here, here.cumsum(0) - 1, self.count)  # the slot behind the last takes all others
        return places.new_zeros(self.count + 1).scatter_(0, slots, places)[:-1]

    @property
    def wanted(self) -> Tensor:
        """[N] int64, the labels themselves."""
        return self.values.flatten()[self.places]

    def select(self, hidden: Tensor) -> Tensor:
        """[B, S, H] -> [N, H]"""
        return hidden.flatten(0, 1)[self.places]

    def number(self) -> Tensor:
        """N as a float32 scalar beside the values."""
        return (self.values != IGNORE).sum().float()
