"""cls and cls_mlm rows: single texts, pairs, cuts, labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from tests.toy_dataset import CLS, MASK, PAD, SEP, random_documents, row_options, toy_dataset
from uer_ds.data.batch import IGNORE
from uer_ds.data.columns import LABEL
from uer_ds.objectives import build_objective

DOCUMENTS = [[[201, 202]], [[203], [204, 205]], [[206] * 9], [[207] * 3, [208] * 9]]
OPTIONS = row_options(seq_length=8)


def test_cls_rows(tmp_path: Path) -> None:
    dataset = toy_dataset(tmp_path, DOCUMENTS, shards=2, layout="labelled", columns={LABEL: [3, 0, 1, 2]})
    objective = build_objective("cls", dataset, OPTIONS)
    batch = objective.batch(np.zeros(4, int), np.array([3, 0, 1, 2]))
    assert len(objective) == 4
    assert batch.ids.tolist() == [
        [CLS, 207, 207, 207, SEP, 208, 208, 208],
        [CLS, 201, 202, PAD, PAD, PAD, PAD, PAD],
        [CLS, 203, SEP, 204, 205, SEP, PAD, PAD],
        [CLS, *[206] * 7],
    ]
    assert batch.segments.tolist() == [[1] * 5 + [2] * 3, [1] * 3 + [0] * 5, [1] * 3 + [2] * 3 + [0] * 2, [1] * 8]
    assert batch.labels["cls"].tolist() == [2, 3, 0, 1] and list(batch.labels) == ["cls"]


def test_cls_mlm_closes_single_texts_and_masks(tmp_path: Path) -> None:
    documents = random_documents(200, 5, items=2)
    dataset = toy_dataset(tmp_path, documents, layout="labelled", columns={LABEL: list(range(200))})
    batch = build_objective("cls_mlm", dataset, replace(OPTIONS, seq_length=16)).batch(
        np.zeros(200, int), np.arange(200)
    )
    labels, ids = batch.labels["mlm"].numpy(), batch.ids.numpy()
    for d, document in enumerate(documents):
        row = np.where(labels[d] != IGNORE, labels[d], ids[d])
        expected = [CLS, *document[0], SEP, *([*document[1], SEP] if len(document) > 1 else [])]
        assert row[: len(expected)].tolist() == expected
    hidden = labels != IGNORE
    assert batch.labels["cls"].tolist() == list(range(200)) and (hidden.sum(axis=1) >= 1).all()
    assert (ids[hidden] == MASK).mean() > 0.7 and not np.isin(labels[hidden], [CLS, SEP, PAD]).any()
