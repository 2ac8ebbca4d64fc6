"""`Example`: what a task reads from its data; and examples -> `Batch`.

B examples in a micro-batch, S tokens of its longest row (rounded up), C choices of an example.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from uer_ds.data.batch import IGNORE, Batch
from uer_ds.finetune.encode import Encoded

Values = Mapping[str, Any]
"""Label name -> number, or array of numbers, of one example."""

MULTIPLE = 8
"""Rows are padded to a multiple of this, which matrix units like."""


@dataclass(frozen=True)
class Example:
    """One example.

    Attributes:
        rows: the encoded rows: one; two of a dual model or a contrastive pair; one for each choice.
        gold: the right answer as the file spells it; None in data to predict.
        source: what scoring and writing need besides (ids of questions, contexts, ...).
    """

    rows: tuple[Encoded, ...]
    gold: Any = None
    source: Any = None

    def __len__(self) -> int:
        """Tokens of the longest row."""
        return max(len(row) for row in self.rows)


def pad_rows(rows: Sequence[Encoded], pad: int) -> tuple[Tensor, Tensor]:
    """Ids and segments, int64 [len(rows), S]; padding is `pad` with segment 0. S never exceeds the rows' limit."""
    longest = max(1, *(len(row) for row in rows))
    length = max(longest, min(-(-longest // MULTIPLE) * MULTIPLE, *(row.limit for row in rows)))
    ids = np.full((len(rows), length), pad, dtype=np.int64)
    segments = np.zeros((len(rows), length), dtype=np.int64)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = row.ids
        segments[number, : len(row)] = row.segments()
    return torch.from_numpy(ids), torch.from_numpy(segments)


def flat(examples: Sequence[Example], pad: int) -> Batch:
    """All rows of all examples one after the other: [B, S], or [B C, S] with C rows an example."""
    return Batch(*pad_rows([row for example in examples for row in example.rows], pad))


def two_streams(examples: Sequence[Example], pad: int) -> Batch:
    """The first row of each example, and its second row as the second stream."""
    first, second = (Batch(*pad_rows([example.rows[stream] for example in examples], pad)) for stream in range(2))
    return replace(first, second=second)


def stack_labels(labels: Sequence[Values], length: int, by_token: Sequence[str] = ()) -> dict[str, Tensor]:
    """Labels of a batch: scalars as [B], arrays as [B, ...]; those `by_token` padded with `IGNORE` to [B, S]."""
    return {
        name: _stack([np.asarray(values[name]) for values in labels], length if name in by_token else None)
        for name in labels[0]
    }


def _stack(values: list[NDArray[Any]], length: int | None) -> Tensor:
    if length is None:
        stacked = np.stack(values)
        return torch.from_numpy(stacked.astype(np.float32 if stacked.dtype.kind == "f" else np.int64))
    padded = np.full((len(values), length), IGNORE, dtype=np.int64)
    for number, value in enumerate(values):
        padded[number, : len(value)] = value[:length]
    return torch.from_numpy(padded)


@dataclass
class ExampleSet:
    """Examples with their labels as the training loader wants them (`uer_ds.data.samples.Samples`)."""

    examples: Sequence[Example]
    labels: Callable[[Example], Values]
    batch_of: Callable[[Sequence[Example], int], Batch]
    pad: int
    by_token: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.examples)

    def batch(self, epochs: NDArray[np.int64], numbers: NDArray[np.int64]) -> Batch:
        """The examples `numbers` with their labels; the same ones in every epoch."""
        examples = [self.examples[number] for number in numbers.tolist()]
        batch = self.batch_of(examples, self.pad)
        length = (batch.decoder or batch).ids.size(1)
        labels = stack_labels([self.labels(example) for example in examples], length, self.by_token)
        return replace(batch, labels=labels)
