"""prefixlm and llm_sft rows: exactly the answer is trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.toy_dataset import CLS, PAD, SEP, row_options, toy_dataset
from uer_ds.data.batch import IGNORE
from uer_ds.objectives import build_objective

DOCUMENTS = [[[201, 202], [301, 302]], [[203] * 4, [303] * 9], [[204] * 9, [304]]]
OPTIONS = row_options(seq_length=8)


def test_prefixlm(tmp_path: Path) -> None:
    objective = build_objective("prefixlm", toy_dataset(tmp_path, DOCUMENTS, layout="pairs"), OPTIONS)
    batch = objective.batch(np.zeros(3, int), np.arange(3))
    assert batch.ids.tolist() == [
        [CLS, 201, 202, SEP, 301, 302, SEP, PAD],
        [CLS, 203, 203, 203, 203, SEP, 303, 303],
        [CLS, *[204] * 7],
    ]
    assert batch.segments.tolist() == [[1, 1, 1, 1, 2, 2, 2, 0], [1] * 6 + [2] * 2, [1] * 8]
    assert batch.labels["lm"].tolist() == [
        [IGNORE] * 3 + [301, 302, SEP] + [IGNORE] * 2,
        [IGNORE] * 5 + [303] * 3,
        [IGNORE] * 8,
    ]


def test_llm_sft(tmp_path: Path) -> None:
    objective = build_objective("llm_sft", toy_dataset(tmp_path, DOCUMENTS, layout="pairs"), OPTIONS)
    batch = objective.batch(np.zeros(3, int), np.arange(3))
    assert batch.ids.tolist()[:2] == [[CLS, 201, 202, 301, 302, SEP, PAD, PAD], [CLS, *[203] * 4, *[303] * 3]]
    assert batch.labels["lm"].tolist()[:2] == [[IGNORE] * 2 + [301, 302, SEP] + [IGNORE] * 3, [IGNORE] * 4 + [303] * 4]
    assert batch.segments.tolist()[:2] == [[1, 1, 2, 2, 2, 0, 0, 0], [1] * 4 + [2] * 4]
    assert (batch.labels["lm"][2] == IGNORE).all()
