"""Classification with any number of labels for each text.

Columns: label (numbers separated by commas), text_a, optional text_b. A label is predicted where its score is above 0
(probability above 0.5). Chosen by accuracy, which counts rows whose labels are all right.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from uer_ds.config.model import ModelConfig
from uer_ds.errors import UserError
from uer_ds.finetune.examples import Example, Values
from uer_ds.finetune.heads import Head, PooledHead, several_labels
from uer_ds.finetune.task import Classes, Output, Pair, Reading, Scores, Wanted
from uer_ds.finetune.tasks import classifier
from uer_ds.finetune.tasks.texts import read_texts


def read(path: Path, reading: Reading) -> Iterator[Example]:
    """Texts and pairs with their labels."""
    return read_texts(path, reading, separator=",")


def names_of(example: Example) -> list[str]:
    """The right labels of an example; none for an empty column."""
    return [name.strip() for name in example.gold.label.split(",") if name.strip()]


def find_labels(examples: Sequence[Example], options: Any, by_name: bool) -> Classes:
    """All labels that occur."""
    return classifier.labels_from(
        ((name, example.gold.where) for example in examples for name in names_of(example)), by_name
    )


def values(example: Example, labels: Classes, options: Any) -> Values:
    """`each`: 1 for a right label, 0 for another one."""
    each = np.zeros(len(labels), dtype=np.int64)
    try:
        each[[labels.number(name) for name in names_of(example)]] = 1
    except UserError as error:
        raise UserError(f"{example.gold.where}: {error}") from None
    return {"each": each}


def head(config: ModelConfig, labels: Classes, options: Any) -> Head:
    """K scores from the pooled vector, each for itself."""
    assert config.hidden_size is not None
    return PooledHead(config.hidden_size, len(labels), config.pooling, several_labels)


def score(examples: Sequence[Example], outputs: Sequence[Output], labels: Classes, options: Any) -> Scores:
    """Accuracy of whole rows, micro F1 of single labels."""
    right = np.array([values(example, labels, options)["each"] for example in examples], dtype=bool)
    found = np.array(outputs) > 0
    correct, total = int((right == found).all(1).sum()), len(examples)
    hits = (right & found).sum()
    f1 = float(2 * hits / max(1, right.sum() + found.sum()))
    line = f"Acc. (Correct/Total): {correct / total:.4f} ({correct}/{total})"
    return Scores({"accuracy": correct / total, "micro_f1": f1}, (line,))


def records(pairs: Iterable[Pair], labels: Classes, wanted: Wanted) -> Iterator[tuple[Any, ...]]:
    """Labels joined by commas (none: an empty column), and where asked for scores and probabilities."""
    for _, output in pairs:
        names = ",".join(name for name, value in zip(labels.names, output, strict=True) if value > 0)
        probabilities = (1 / (1 + np.exp(-output))).tolist()
        yield (names, *([output.tolist()] * wanted.logits), *([probabilities] * wanted.prob))


TASK = dataclasses.replace(
    classifier.TASK,
    name="multi_label",
    summary="several labels for each text",
    read=read,
    labels=find_labels,
    values=values,
    head=head,
    score=score,
    records=records,
)
