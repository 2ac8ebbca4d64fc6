"""lm batches: every token is predicted once, from its own document, and pads never."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tests.toy_dataset import CLS, SEP, random_documents, row_options, toy_dataset
from uer_ds.data.batch import IGNORE
from uer_ds.objectives import build_objective


@pytest.mark.parametrize("packed", [True, False])
def test_every_token_is_predicted_once_from_the_one_before_it(tmp_path: Path, packed: bool) -> None:
    documents = random_documents(80, 20)
    dataset = toy_dataset(tmp_path, documents, shards=2)
    objective = build_objective("lm", dataset, row_options(seq_length=8, no_packing=not packed))
    numbers = np.arange(len(objective))
    batch = objective.batch(np.zeros_like(numbers), numbers)
    labels, ids = batch.labels["lm"].numpy(), batch.ids.numpy()
    trained = labels != IGNORE
    expected: Counter[tuple[int, int]] = Counter()
    for [tokens] in documents:
        full = [CLS, *tokens, SEP]
        expected.update(pairwise(full))
    assert Counter(zip(ids[trained].tolist(), labels[trained].tolist(), strict=True)) == expected
    assert batch.ids.shape == (len(objective), 8) and (batch.documents is not None) == packed


def test_the_worked_example(tmp_path: Path) -> None:
    dataset = toy_dataset(tmp_path, [[[201, 202]], [[203]]])
    batch = build_objective("lm", dataset, row_options(seq_length=5)).batch(np.zeros(2, int), np.arange(2))
    assert batch.ids.tolist() == [[CLS, 201, 202, SEP, CLS], [203, SEP, 0, 0, 0]]
    assert batch.labels["lm"].tolist() == [[201, 202, SEP, IGNORE, 203], [SEP, IGNORE, IGNORE, IGNORE, IGNORE]]
    assert batch.segments.tolist() == [[1] * 5, [1, 1, 0, 0, 0]]


def test_documents_of_one_token_and_of_exactly_a_row(tmp_path: Path) -> None:
    dataset = toy_dataset(tmp_path, [[[201] * 7], [[202] * 6], [[203]]])
    objective = build_objective("lm", dataset, row_options(seq_length=8, no_packing=True))
    batch = objective.batch(np.zeros(3, int), np.arange(3))
    assert len(objective) == 3  # nine tokens are eight predictions: one row
    assert (batch.labels["lm"] != IGNORE).sum(dim=1).tolist() == [8, 7, 2]
