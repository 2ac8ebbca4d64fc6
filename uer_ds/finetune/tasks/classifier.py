"""Classification of texts and pairs of texts.

Columns: label, text_a, optional text_b, and with --soft_targets logits (K numbers separated by blanks). Model: the
pooled vector, a dense layer with tanh, K scores. Chosen by accuracy.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from uer_ds.config.model import ModelConfig
from uer_ds.errors import UserError
from uer_ds.finetune.examples import Example, Values
from uer_ds.finetune.heads import Head, PooledHead, classification, distillation
from uer_ds.finetune.metrics import classification_scores
from uer_ds.finetune.task import Classes, Output, Pair, Reading, Scores, Task, Wanted
from uer_ds.finetune.tasks.texts import read_texts


def read(path: Path, reading: Reading) -> Iterator[Example]:
    """Texts and pairs with their labels, and in training the given logits, where they are learned from."""
    return read_texts(path, reading, gold_columns=soft_columns(reading))


def soft_columns(reading: Reading) -> list[str]:
    """The column of the soft targets: only the training file needs one."""
    return ["logits"] * (reading.options.soft_targets and reading.part == "train")


def find_labels(examples: Sequence[Example], options: Any, by_name: bool) -> Classes:
    """The classes of the training data: numbers 0 .. K-1, or with `by_name` any names in sorted order."""
    return labels_from(((example.gold.label, example.gold.where) for example in examples), by_name)


def labels_from(occurrences: Iterable[tuple[str, str]], by_name: bool) -> Classes:
    """The classes among (label, place in the data). Raises UserError when numbers are expected and are not 0 .. K-1."""
    places: dict[str, str] = {}
    for label, where in occurrences:
        places.setdefault(label, where)
    found = sorted(places)
    if by_name:
        return Classes(tuple(found))
    expected = [str(number) for number in range(len(found))]
    strange = next((label for label in places if label not in expected), None)
    if strange is not None:
        shown = ", ".join(found[:10]) + (", ..." if len(found) > 10 else "")
        raise UserError(
            f"{places[strange]}: label {strange!r}; the training data has the labels {shown}, expected the numbers 0 "
            f"to {len(found) - 1}: give --map_labels to number them in sorted order."
        )
    return Classes(tuple(expected))


def values(example: Example, labels: Classes, options: Any) -> Values:
    """`cls`, and `soft` where the example has given logits."""
    result: dict[str, Any] = {"cls": class_number(example, labels)}
    if "logits" in example.gold.more:
        result["soft"] = soft_targets(example, labels)
    return result


def soft_targets(example: Example, labels: Classes) -> Any:
    """The given logits, float32 [K]. Raises UserError, naming the line, when they are no K numbers."""
    text = example.gold.more["logits"]
    try:
        numbers = np.array(text.split(), dtype=np.float32)
    except ValueError:
        numbers = np.array([np.nan], dtype=np.float32)
    if len(numbers) != len(labels) or not np.isfinite(numbers).all():
        raise UserError(
            f"{example.gold.where}: logits is {text[:60]!r}; expected {len(labels)} numbers separated by blanks, one "
            "for each label."
        )
    return numbers


def class_number(example: Example, labels: Classes) -> int:
    """The number of the right class. Raises UserError, naming the line, for a label that the training data lacks."""
    try:
        return labels.number(example.gold.label)
    except UserError as error:
        raise UserError(f"{example.gold.where}: {error}") from None


def head(config: ModelConfig, labels: Classes, options: Any) -> Head:
    """K scores from the pooled vector."""
    weights = options.class_weights
    if weights and len(weights) != len(labels):
        raise UserError(f"--class_weights has {len(weights)} numbers; expected {len(labels)}, one for each label.")
    losses = distillation(options.soft_alpha, weights) if options.soft_targets else classification(weights=weights)
    assert config.hidden_size is not None
    return PooledHead(config.hidden_size, len(labels), config.pooling, losses, classes="cls")


def score(examples: Sequence[Example], outputs: Sequence[Output], labels: Classes, options: Any) -> Scores:
    """Confusion matrix, scores of each label, accuracy."""
    predicted = [int(output.argmax()) for output in outputs]
    return classification_scores(predicted, [labels.number(e.gold.label) for e in examples], labels.names)


def columns(wanted: Wanted) -> tuple[str, ...]:
    """label, and where asked for logits and prob."""
    return ("label",) + ("logits",) * wanted.logits + ("prob",) * wanted.prob


def records(pairs: Iterable[Pair], labels: Classes, wanted: Wanted) -> Iterator[tuple[Any, ...]]:
    """The label's name, and where asked for all scores and probabilities."""
    for _, output in pairs:
        more = [output.tolist()] * wanted.logits + [softmax(output).tolist()] * wanted.prob
        yield (labels.names[int(output.argmax())], *more)


def softmax(scores: Output) -> Output:
    """Probabilities [K]."""
    raised = np.exp(scores - scores.max())
    return raised / raised.sum()


TASK = Task(
    name="classifier",
    summary="classify texts and pairs of texts",
    read=read,
    labels=find_labels,
    values=values,
    head=head,
    score=score,
    metric="accuracy",
    columns=columns,
    records=records,
    numbered=True,
    exported=lambda options: True,
)
