"""bart: the target is the text, the source the same sentences shuffled and masked."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.toy_dataset import CLS, MASK, PAD, SEP, random_documents, row_options, toy_dataset
from uer_ds.data.batch import IGNORE
from uer_ds.objectives.denoising import Denoising


def test_target_is_the_chunk_and_source_its_shuffled_sentences(tmp_path: Path) -> None:
    sentences = [list(range(300 + 10 * k, 300 + 10 * k + 6)) for k in range(9)]
    objective = Denoising(toy_dataset(tmp_path, [sentences]), row_options(64))
    batch = objective.batch(np.arange(200), np.zeros(200, int))
    text = [token for sentence in sentences for token in sentence]
    assert batch.decoder is not None and batch.decoder.ids.shape == (200, 63)
    assert batch.decoder.ids[7].tolist() == [CLS, *text, *[PAD] * 8]
    assert batch.labels["lm"][7].tolist() == [*text, SEP, *[IGNORE] * 8]
    orders = set()
    for row in batch.ids.tolist():
        assert row[0] == CLS and SEP in row
        kept = [token for token in row[1 : row.index(SEP)] if token != MASK]
        orders.add(tuple(dict.fromkeys((token - 300) // 10 for token in kept if token in text)))
    assert len(orders) > 150


def test_runs_of_masks_shrink_to_one(tmp_path: Path) -> None:
    dataset = toy_dataset(tmp_path, random_documents(50, 9, items=12))
    batch = Denoising(dataset, row_options(64, span_masking=True)).batch(np.zeros(40, int), np.arange(40))
    ids, segments = batch.ids.numpy(), batch.segments.numpy()
    assert (ids == MASK).any(axis=1).mean() > 0.7 and not ((ids[:, 1:] == MASK) & (ids[:, :-1] == MASK)).any()
    assert ((ids == PAD) == (segments == 0)).all()


def test_a_chunk_longer_than_a_row_is_cut_on_both_sides_alike(tmp_path: Path) -> None:
    objective = Denoising(toy_dataset(tmp_path, [[[300] * 4, [301] * 20]]), row_options(16))
    batch = objective.batch(np.zeros(1, int), np.zeros(1, int))
    assert batch.labels["lm"][0].tolist() == [300] * 4 + [301] * 10 + [SEP]
    assert set(batch.ids[0].tolist()) >= {CLS, SEP} and len(objective) == 1
