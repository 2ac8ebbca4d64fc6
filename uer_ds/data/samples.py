"""`Objective`: numbered samples of a dataset, and the one way to make a batch of them."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from uer_ds.data.batch import Batch
from uer_ds.data.sampler import Lengths
from uer_ds.errors import UserError
from uer_ds.objective_specs import ObjectiveSpec

Ints = NDArray[np.int64]


class Samples(Protocol):
    """Numbered samples: each is a pure function of (seed, epoch, number), whatever else is in the batch."""

    def __len__(self) -> int:
        """Samples in one epoch."""
        ...

    def batch(self, epochs: Ints, numbers: Ints) -> Batch:
        """The samples `numbers` [B] as they are in `epochs` [B]."""
        ...


class Objective(Samples, Protocol):
    """How samples are made from a dataset. A class derives from it and sets what it needs.

    Attributes:
        spec: name, model targets, what it reads.
        dataset: where the tokens come from (`folder`, `documents`, `items`, `tokens`).
        notes: what the user should know: what of the dataset gives no samples, and why.
        lengths: tells how many tokens samples have before they are read; None where rows are full or nothing tells.
    """

    spec: ObjectiveSpec
    dataset: Any
    notes: tuple[str, ...] = ()
    lengths: Lengths | None = None


def make_batch(samples: Samples, epochs: Ints, numbers: Ints, trim: int | None = None) -> Batch:
    """`samples.batch`, of which columns that are padding in all rows are left out, to a multiple of `trim`.

    A mistake of reading becomes a `UserError` that names the dataset and the samples.
    """
    try:
        batch = samples.batch(epochs, numbers)
    except (OSError, ValueError, IndexError) as error:
        dataset = getattr(samples, "dataset", None)  # samples in memory have none
        if dataset is None:
            raise
        raise UserError(
            f"{dataset.folder}: samples {numbers.tolist()} of epochs {epochs.tolist()} cannot be "
            f"made ({type(error).__name__}: {error}); check the dataset with `uer-ds dataset verify`."
        ) from error
    return batch.trimmed(trim) if trim else batch


def require_samples(objective: Objective) -> None:
    """Raise UserError when the objective cannot make a single sample."""
    if len(objective) > 0:
        return
    dataset = objective.dataset
    found = f"{dataset.documents} documents, {dataset.items} items and {dataset.tokens} tokens"
    why = "; ".join(objective.notes) or (
        f"expected {objective.spec.needs}: check the corpus and its format and run preprocess again"
    )
    raise UserError(f"{dataset.folder}: the {objective.spec.name} objective finds no sample in {found}; {why}.")
