"""prefixlm and llm_sft rows: exactly the answer is trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.toy_dataset import CLS, PAD, SEP, row_options, toy_dataset
from uer_ds.data.batch import IGNORE
from uer_ds.data.blend import Blend
from uer_ds.data.samples import require_samples
from uer_ds.errors import UserError
from uer_ds.objectives import build_objective

DOCUMENTS = [[[201, 202], [301, 302]], [[203] * 4, [303] * 9], [[204] * 9, [304]]]
OPTIONS = row_options(seq_length=8)


def test_prefixlm(tmp_path: Path) -> None:
    objective = build_objective("prefixlm", toy_dataset(tmp_path, DOCUMENTS, layout="pairs"), OPTIONS)
    batch = objective.batch(np.zeros(2, int), np.arange(2))
    assert batch.ids.tolist() == [[CLS, 201, 202, SEP, 301, 302, SEP, PAD], [CLS, 203, 203, 203, 203, SEP, 303, 303]]
    assert batch.segments.tolist() == [[1, 1, 1, 1, 2, 2, 2, 0], [1] * 6 + [2] * 2]
    assert batch.labels["lm"].tolist() == [[IGNORE] * 3 + [301, 302, SEP] + [IGNORE] * 2, [IGNORE] * 5 + [303] * 3]


def test_llm_sft(tmp_path: Path) -> None:
    objective = build_objective("llm_sft", toy_dataset(tmp_path, DOCUMENTS, layout="pairs"), OPTIONS)
    batch = objective.batch(np.zeros(2, int), np.arange(2))
    assert batch.ids.tolist()[:2] == [[CLS, 201, 202, 301, 302, SEP, PAD, PAD], [CLS, *[203] * 4, *[303] * 3]]
    assert batch.labels["lm"].tolist()[:2] == [[IGNORE] * 2 + [301, 302, SEP] + [IGNORE] * 3, [IGNORE] * 4 + [303] * 4]
    assert batch.segments.tolist()[:2] == [[1, 1, 2, 2, 2, 0, 0, 0], [1] * 4 + [2] * 4]


@pytest.mark.parametrize(("name", "marks"), [("prefixlm", 2), ("llm_sft", 1)])
@pytest.mark.parametrize("shards", [1, 3])
def test_a_prompt_without_room_for_its_answer_is_no_row(tmp_path: Path, name: str, marks: int, shards: int) -> None:
    longest = 8 - marks  # one token of the answer is predicted
    documents = [[[201] * (longest + i % 3 - 1), [300 + i]] for i in range(300)]
    dataset = toy_dataset(tmp_path, documents, shards, layout="pairs")
    objective = build_objective(name, dataset, OPTIONS)
    assert len(objective) == 200
    labels = objective.batch(np.zeros(200, int), np.arange(200)).labels["lm"]
    first = [next(i for i in row if i != IGNORE) for row in labels.tolist()]
    assert first == [300 + i for i in range(300) if i % 3 < 2]
    [note] = Blend([objective, objective], [], 7).notes[:1]
    assert "100 of 300 pairs" in note and "rows of 8 tokens (--seq_length)" in note
    alone = toy_dataset(tmp_path / "alone", [[[201] * 9, [300]]], layout="pairs")
    with pytest.raises(UserError, match=f"the {name} objective finds no sample in 1 documents.*1 of 1 pairs"):
        require_samples(build_objective(name, alone, OPTIONS))
