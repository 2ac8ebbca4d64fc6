"""t5: source and target put together give the text back; sentinels, documents, limits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.toy_dataset import CLS, PAD, SENTINEL, SEP, VOCAB_SIZE, random_documents, row_options, toy_dataset
from uer_ds.data.batch import IGNORE, Batch
from uer_ds.data.windows import Rows
from uer_ds.errors import UserError
from uer_ds.objectives import build_objective
from uer_ds.objectives.span_corruption import SpanCorruption, find_runs
from uer_ds.tokenizers.special import SpecialIds

SPANS = {"span_masking": True, "span_geo_prob": 0.3, "span_max_length": 5}


def documents_of(ids: np.ndarray, segments: np.ndarray, documents: np.ndarray | None) -> dict[int, list[int]]:
    numbers = np.zeros_like(ids) if documents is None else documents
    real = segments > 0
    return {int(d): ids[real & (numbers == d)].tolist() for d in np.unique(numbers[real])}


def restored(batch: Batch, row: int) -> list[int]:
    """The text of a row from its source and what the decoder is to say, checking the form of both."""
    assert batch.decoder is not None
    numbers = [None if part.documents is None else part.documents[row].numpy() for part in (batch, batch.decoder)]
    source = documents_of(batch.ids[row].numpy(), batch.segments[row].numpy(), numbers[0])
    said = documents_of(batch.decoder.ids[row].numpy(), batch.decoder.segments[row].numpy(), numbers[1])
    labels = documents_of(batch.labels["lm"][row].numpy(), batch.decoder.segments[row].numpy(), numbers[1])
    assert list(source) == list(said) == list(range(len(source)))
    text = []
    for d, ids in source.items():
        sentinels = [token for token in ids if token >= SENTINEL]
        assert sentinels == list(range(SENTINEL, SENTINEL + len(sentinels)))
        assert said[d][0] == CLS and said[d][-1] == SENTINEL + len(sentinels)
        expected = [*said[d][1:], SEP] if sentinels else [IGNORE, IGNORE]
        assert labels[d] == expected
        runs: dict[int, list[int]] = {}
        for token in said[d][1:-1]:
            if token >= SENTINEL:
                runs[token] = []
            else:
                runs[max(runs)].append(token)
        assert list(runs) == sentinels and all(runs.values())
        for token in ids:
            text += runs[token] if token >= SENTINEL else [token]
    return text


@pytest.mark.parametrize("masking", [{}, SPANS])
@pytest.mark.parametrize("packed", [True, False])
def test_source_and_target_give_the_text_back(tmp_path: Path, packed: bool, masking: dict[str, Any]) -> None:
    dataset = toy_dataset(tmp_path, random_documents(80, 40))
    objective = SpanCorruption(dataset, row_options(64, no_packing=not packed, **masking))
    numbers = np.arange(len(objective))
    batch = objective.batch(np.zeros_like(numbers), numbers)
    assert (batch.documents is not None) == packed and batch.ids.shape[1] == 64
    rows = objective._rows.read(numbers)
    for row in range(len(numbers)):
        assert restored(batch, row) == rows.ids[row][rows.segments[row] > 0].tolist()


def test_positions_restart_in_every_document(tmp_path: Path) -> None:
    dataset = toy_dataset(tmp_path, random_documents(40, 20))
    batch = SpanCorruption(dataset, row_options(64, **SPANS)).batch(np.zeros(5, int), np.arange(5))
    assert batch.decoder is not None
    for part in (batch, batch.decoder):
        assert part.documents is not None and part.positions is not None
        for documents, positions in zip(part.documents.numpy(), part.positions.numpy(), strict=True):
            for d in np.unique(documents):
                assert positions[documents == d].tolist() == list(range((documents == d).sum()))
            assert (np.diff(documents) >= 0).all()


def test_runs_touching_at_a_document_bound_stay_apart() -> None:
    documents = np.array([[0, 0, 0, 1, 1, 2]])
    rows = Rows(documents + 300, documents, documents, np.array([[1, 1, 1, 1, 1, 0]]))
    runs = find_runs(rows, np.array([[False, True, True, True, False, False]]), 10)
    assert runs.starts.tolist() == [[False, True, False, True, False, False]]
    assert runs.number[0, :5].tolist() == [-1, 0, 0, 0, 0]
    assert runs.empty[0, :5].tolist() == [False] * 5


def test_more_runs_than_sentinels_are_left_alone(tmp_path: Path) -> None:
    dataset = toy_dataset(tmp_path, [[[300 + i for i in range(120)]]])
    objective = SpanCorruption(dataset, row_options(vocab_size=SENTINEL + 4))  # three runs and the closing sentinel
    batch = objective.batch(np.arange(5), np.zeros(5, int))
    assert batch.decoder is not None
    for row in range(5):
        assert restored(batch, row) == [CLS, *range(300, 420), SEP]
        assert (batch.ids[row] >= SENTINEL).sum() == 3 and batch.decoder.ids[row].max() == SENTINEL + 3


def test_ids_next_to_the_sentinels_are_ordinary(tmp_path: Path) -> None:
    """UER-py loses a run that follows the id before the first sentinel."""
    dataset = toy_dataset(tmp_path, [[[SENTINEL - 1] * 30]])
    batch = SpanCorruption(dataset, row_options(32)).batch(np.arange(20), np.zeros(20, int))
    assert all(restored(batch, row) == [CLS, *[SENTINEL - 1] * 30, SEP] for row in range(20))


def test_shortened_sources_are_padded_invisibly(tmp_path: Path) -> None:
    batch = SpanCorruption(toy_dataset(tmp_path, [[[300] * 62]]), row_options(64, **SPANS)).batch(
        np.arange(50), np.zeros(50, int)
    )
    assert ((batch.ids == PAD) == (batch.segments == 0)).all() and (batch.segments == 0).any()


@pytest.mark.parametrize(("sentinel", "message"), [(None, "no sentinel token"), (VOCAB_SIZE - 1, "1 sentinel tokens")])
def test_a_vocabulary_without_sentinels_is_refused(tmp_path: Path, sentinel: int | None, message: str) -> None:
    special = SpecialIds(pad=0, unk=100, cls=101, sep=102, mask=103, sentinel=sentinel)
    with pytest.raises(UserError, match=message):
        build_objective("t5", toy_dataset(tmp_path, [[[300]]]), row_options(special=special))
