"""Vectors of sentences by contrast (SimCSE): pairs belong together, or the same text read twice under dropout.

Columns: text_a, optional text_b and label (how alike the two are, needed for evaluation). Chosen by Spearman's
correlation of cosines with labels. Training goes back to dropout after every evaluation, which UER-py forgets.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from uer_ds.config.model import ModelConfig
from uer_ds.finetune.examples import Example, Values, two_streams
from uer_ds.finetune.heads import ContrastiveHead, Head
from uer_ds.finetune.rows import columns_of
from uer_ds.finetune.task import Classes, Reading, Task
from uer_ds.finetune.tasks.regression import number_of, records, score
from uer_ds.finetune.tasks.siamese import two_rows
from uer_ds.finetune.tasks.texts import read_texts


def read(path: Path, reading: Reading) -> Iterator[Example]:
    """Two rows of ids; labels where the file has them, which evaluation needs."""
    labelled = reading.gold and (reading.part != "train" or "label" in columns_of(path))
    return read_texts(path, dataclasses.replace(reading, gold=labelled), two_rows)


def values(example: Example, labels: Classes, options: Any) -> Values:
    """`pair`: counts the pairs; which partner is right is told by its place in the batch."""
    if example.gold is not None:
        number_of(example)
    return {"pair": 0}


def head(config: ModelConfig, labels: Classes, options: Any) -> Head:
    """Cosines, no parameters."""
    return ContrastiveHead(config.pooling, options.temperature)


TASK = Task(
    name="simcse",
    summary="vectors of sentences by contrast",
    read=read,
    values=values,
    head=head,
    score=score,
    metric="spearman",
    columns=lambda wanted: ("cosine",),
    records=records,
    known_labels=lambda options, tokenizer: Classes(),
    batch_of=two_streams,
)
