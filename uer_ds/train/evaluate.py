"""Held-out evaluation: the same samples, masked the same way, whatever the number of ranks."""

from __future__ import annotations

import numpy as np
import torch

from uer_ds.config.sharing import ALONE, Sharing
from uer_ds.data.batch import Terms
from uer_ds.data.samples import Objective, make_batch
from uer_ds.engine.engine import Engine
from uer_ds.engine.group import Group
from uer_ds.train.meter import add_terms, means


@torch.no_grad()
def evaluate(
    engine: Engine,
    objective: Objective,
    group: Group,
    batch_size: int,
    samples: int = 0,
    sharing: Sharing = ALONE,
    trim: int | None = None,
) -> dict[str, float]:
    """Loss and accuracy over the first `samples` samples (0: all) of the objective's first epoch. Collective.

    Every rank runs the model equally often, as ZeRO-3 demands; a rank without samples of its own in the last round
    repeats one and does not count it. Processes that share rows or layers run the model on the same samples.
    `trim`: as of `make_batch`.
    """
    count = min(samples or len(objective), len(objective))
    reader, readers = sharing.reader(group.place.rank), sharing.readers(group.place.world_size)
    total: Terms | None = None
    engine.train(False)
    for start in range(0, count, batch_size * readers):
        begin = start + reader * batch_size
        numbers = np.arange(begin, min(begin + batch_size, count), dtype=np.int64)
        real = len(numbers) > 0
        if not real:
            numbers = np.zeros(1, dtype=np.int64)
        batch = make_batch(objective, np.zeros_like(numbers), numbers, trim)
        terms = engine.forward(batch.to(engine.device))
        if not real:
            terms = {name: (value * 0, number * 0) for name, (value, number) in terms.items()}
        total = add_terms(total, terms)
    engine.train(True)
    assert total is not None
    scalars = torch.stack([scalar.to(torch.float64) for pair in total.values() for scalar in pair])
    sums = group.sum(scalars).tolist()
    return means({name: (sums[2 * i], sums[2 * i + 1]) for i, name in enumerate(total)})
