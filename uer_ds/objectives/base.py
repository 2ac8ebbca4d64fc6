"""What the objectives share: how rows of token ids become a `Batch`.

What an objective must be is `uer_ds.data.loader.Objective`.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from uer_ds.data.batch import IGNORE, Batch
from uer_ds.data.windows import Rows
from uer_ds.errors import UserError
from uer_ds.tokenizers.special import SpecialIds

Ints = NDArray[np.int64]


def require_ids(special: SpecialIds, objective: str, *roles: str) -> tuple[int, ...]:
    """The ids of these special tokens; `UserError` when the vocabulary lacks one."""
    ids = [getattr(special, role) for role in roles]
    for role, token_id in zip(roles, ids, strict=True):
        if token_id is None:
            raise UserError(
                f"the vocabulary of the dataset has no {role} token, which the {objective} objective needs;"
                " preprocess with a vocabulary that has one."
            )
    return tuple(ids)


def row_batch(rows: Rows, packed: bool, labels: dict[str, Tensor]) -> Batch:
    """A batch of rows without decoder; positions and documents are only needed when rows hold several documents."""
    return Batch(
        ids=tensor(rows.ids),
        segments=tensor(rows.segments),
        positions=tensor(rows.positions) if packed else None,
        documents=tensor(rows.documents) if packed else None,
        labels=labels,
    )


def tensor(array: NDArray) -> Tensor:
    """A contiguous tensor of the same numbers, without a copy where possible."""
    return torch.from_numpy(np.ascontiguousarray(array))


def labels_where(chosen: NDArray[np.bool_], ids: Ints) -> Tensor:
    """[B, S] labels: the id where `chosen`, `IGNORE` elsewhere."""
    return torch.from_numpy(np.where(chosen, ids, np.int64(IGNORE)))
