"""A wish to stop at a certain update."""

from __future__ import annotations

from uer_ds.train.stopping import StopWish


class StopAfter(StopWish):
    """Wishes to stop when it has been asked about so many updates; None: never."""

    def __init__(self, updates: int | None):
        super().__init__()
        self.left = updates

    def __bool__(self) -> bool:
        if self.left is None:
            return False
        self.left -= 1
        return self.left < 0
