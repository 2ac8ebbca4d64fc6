"""A number for each text or pair of texts, for instance how alike they are.

Columns: label (a number), text_a, optional text_b. Trained by the mean square error, chosen by Spearman's correlation
of ranks.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from uer_ds.config.model import ModelConfig
from uer_ds.errors import UserError
from uer_ds.finetune.examples import Example, Values
from uer_ds.finetune.heads import Head, PooledHead, regression
from uer_ds.finetune.metrics import correlations
from uer_ds.finetune.task import Classes, Output, Pair, Scores, Task, Wanted
from uer_ds.finetune.tasks.texts import read


def number_of(example: Example) -> float:
    """The right answer. Raises UserError for a label that is no finite number."""
    try:
        value = float(example.gold.label)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UserError(f"{example.gold.where}: label {example.gold.label!r} is no number.")
    return value


def values(example: Example, labels: Classes, options: Any) -> Values:
    """`value`."""
    return {"value": number_of(example)}


def head(config: ModelConfig, labels: Classes, options: Any) -> Head:
    """One score from the pooled vector."""
    assert config.hidden_size is not None
    return PooledHead(config.hidden_size, 1, config.pooling, regression)


def score(examples: Sequence[Example], outputs: Sequence[Output], labels: Classes, options: Any) -> Scores:
    """Spearman's and Pearson's correlation."""
    return correlations([float(output[0]) for output in outputs], [number_of(example) for example in examples])


def records(pairs: Iterable[Pair], labels: Classes, wanted: Wanted) -> Iterator[tuple[Any, ...]]:
    """The number of each row."""
    for _, output in pairs:
        yield (float(output[0]),)


TASK = Task(
    name="regression",
    summary="a number for each text or pair",
    read=read,
    values=values,
    head=head,
    score=score,
    metric="spearman",
    columns=lambda wanted: ("label",),
    records=records,
    known_labels=lambda options, tokenizer: Classes(),
    exported=lambda options: True,
)
