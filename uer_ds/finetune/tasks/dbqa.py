"""Ranking of sentences by whether they answer a question.

Columns: qid (rows of a question stand together), label (1: answers, 0: does not), text_a (question), text_b. Model and
training are the classifier's; sentences are ranked by the score of label 1. Chosen by the mean reciprocal rank.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from uer_ds.errors import UserError
from uer_ds.finetune.examples import Example
from uer_ds.finetune.task import Classes, Output, Reading, Scores
from uer_ds.finetune.tasks import classifier
from uer_ds.finetune.tasks.texts import read_texts


def read(path: Path, reading: Reading) -> Iterator[Example]:
    """Pairs with the number of their question."""
    return read_texts(
        path, reading, columns=("text_a", "text_b"), gold_columns=["qid", *classifier.soft_columns(reading)]
    )


def find_labels(examples: Sequence[Example], options: Any, by_name: bool) -> Classes:
    """0 and 1."""
    for example in examples:
        if example.gold.label not in ("0", "1"):
            raise UserError(f"{example.gold.where}: label {example.gold.label!r}; expected 0 and 1 only.")
    return Classes(("0", "1"))


def score(examples: Sequence[Example], outputs: Sequence[Output], labels: Classes, options: Any) -> Scores:
    """Mean reciprocal rank of the best right sentence, and mean average precision, over questions.

    A question without a right sentence counts 1 / (number of its sentences + 1), UER-py's rule; among equal scores the
    first sentence goes first. Average precision leaves such questions out.
    """
    reciprocal, precisions = [], []
    pairs = zip(examples, outputs, strict=True)
    for _, rows in groupby(pairs, key=lambda pair: pair[0].gold.more["qid"]):
        group = list(rows)
        order = np.argsort([-output[1] for _, output in group], kind="stable")
        ranks = [rank for rank, place in enumerate(order, 1) if group[place][0].gold.label == "1"]
        reciprocal.append(1 / (ranks[0] if ranks else len(group) + 1))
        if ranks:
            precisions.append(float(np.mean([number / rank for number, rank in enumerate(ranks, 1)])))
    mean, average = float(np.mean(reciprocal)), float(np.mean(precisions)) if precisions else 0.0
    return Scores({"mrr": mean, "map": average}, (f"Mean Reciprocal Rank: {mean:.4f}",))


TASK = replace(
    classifier.TASK,
    name="dbqa",
    summary="rank sentences by whether they answer a question",
    read=read,
    labels=find_labels,
    score=score,
    metric="mrr",
    numbered=False,
)
