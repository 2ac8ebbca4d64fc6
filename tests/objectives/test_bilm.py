"""bilm rows: neighbours on both sides, brackets only as labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.toy_dataset import CLS, SEP, random_documents, row_options, toy_dataset
from uer_ds.data.batch import IGNORE
from uer_ds.objectives import build_objective


def test_the_worked_example(tmp_path: Path) -> None:
    dataset = toy_dataset(tmp_path, [[[201, 202, 203, 204, 205]], [[206, 207, 208]]])
    objective = build_objective("bilm", dataset, row_options(seq_length=3, no_packing=False))
    batch = objective.batch(np.zeros(3, int), np.arange(3))
    assert len(objective) == 3
    assert batch.ids.tolist() == [[201, 202, 203], [204, 205, 0], [206, 207, 208]]
    assert batch.segments.tolist() == [[1, 1, 1], [1, 1, 0], [1, 1, 1]]
    assert batch.labels["bilm_forward"].tolist() == [[202, 203, 204], [205, SEP, IGNORE], [207, 208, SEP]]
    assert batch.labels["bilm_backward"].tolist() == [[CLS, 201, 202], [203, 204, IGNORE], [CLS, 206, 207]]


def test_every_token_is_read_once(tmp_path: Path) -> None:
    documents = random_documents(60, 20)
    dataset = toy_dataset(tmp_path, documents, shards=2)
    objective = build_objective("bilm", dataset, row_options(seq_length=4))
    batch = objective.batch(np.zeros(len(objective), int), np.arange(len(objective)))
    assert batch.ids[batch.segments > 0].tolist() == [token for [ids] in documents for token in ids]
