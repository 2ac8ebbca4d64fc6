"""Outputs of a model for many examples, in their order, on all ranks together.

Examples of like length share a batch, so padding costs little; every rank runs the model equally often, as ZeRO-3
demands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from uer_ds.data.batch import Batch
from uer_ds.engine.group import Group
from uer_ds.finetune.examples import Example
from uer_ds.finetune.task import Output

Runner = Callable[[Batch], Tensor]
"""A batch without labels -> the head's outputs, first axis the examples (engine or plain model, in eval mode)."""

BatchOf = Callable[[Sequence[Example], int], Batch]


@torch.no_grad()
def predict(
    run: Runner,
    examples: Sequence[Example],
    batch_of: BatchOf,
    pad: int,
    batch_size: int,
    group: Group,
    advance: Callable[[int], None] = lambda count: None,
) -> list[Output] | None:
    """One output for each example on rank 0, None on the others. Collective.

    Outputs by token are cut to the example's own length. `advance` is told how many more examples are done, on all
    ranks together.
    """
    place = group.place
    batches = batches_by_length(examples, batch_size)
    mine: list[tuple[int, Output]] = []
    for start in range(0, len(batches), place.world_size):
        number = start + place.rank
        numbers = batches[min(number, len(batches) - 1)]
        batch = batch_of([examples[n] for n in numbers], pad)
        outputs = run(batch).float().cpu().numpy()
        if number < len(batches):
            length = batch.ids.size(1)
            mine += [(n, own_part(output, examples[n], length)) for n, output in zip(numbers, outputs, strict=True)]
        advance(sum(map(len, batches[start : start + place.world_size])))
    parts = group.gather(mine)
    if parts is None:
        return None
    ordered = dict(pair for part in parts for pair in part)
    return [ordered[number] for number in range(len(examples))]


def batches_by_length(examples: Sequence[Example], batch_size: int) -> list[list[int]]:
    """Numbers of the examples, longest first, so that a batch too large for the memory fails at once."""
    order = np.argsort([-len(example) for example in examples], kind="stable").tolist()
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def own_part(output: Output, example: Example, length: int) -> Output:
    """`output` without the padding, when its first axis is tokens ([S, ...] of a batch with rows of `length`)."""
    by_token = output.ndim >= 2 and output.shape[0] == length
    return output[: len(example)].copy() if by_token else output.copy()
