"""mt rows: cuts, the shift of the decoder, and vocabularies of their own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from tests.toy_dataset import CLS, PAD, SEP, row_options, toy_dataset
from uer_ds.data.batch import IGNORE
from uer_ds.objectives import build_objective
from uer_ds.tokenizers.special import SpecialIds

DOCUMENTS = [[[201, 202], [301]], [[203] * 9, [302] * 9]]
OPTIONS = row_options(seq_length=6, tgt_seq_length=4)


def test_rows(tmp_path: Path) -> None:
    objective = build_objective("mt", toy_dataset(tmp_path, DOCUMENTS, layout="pairs"), OPTIONS)
    batch = objective.batch(np.zeros(2, int), np.arange(2))
    assert batch.ids.tolist() == [[CLS, 201, 202, SEP, PAD, PAD], [CLS, *[203] * 5]]
    assert batch.decoder is not None
    assert batch.decoder.ids.tolist() == [[CLS, 301, PAD, PAD], [CLS, 302, 302, 302]]
    assert batch.decoder.segments.tolist() == [[1, 1, 0, 0], [1, 1, 1, 1]]
    assert batch.labels["lm"].tolist() == [[301, SEP, IGNORE, IGNORE], [302, 302, 302, 302]]


def test_the_target_uses_its_own_special_ids(tmp_path: Path) -> None:
    target = SpecialIds(pad=1, unk=None, cls=2, sep=3, mask=None, sentinel=None)
    dataset = toy_dataset(tmp_path, DOCUMENTS[:1], layout="pairs")
    batch = build_objective("mt", dataset, replace(OPTIONS, target_special=target)).batch(
        np.zeros(1, int), np.zeros(1, int)
    )
    assert batch.decoder is not None and batch.decoder.ids.tolist() == [[2, 301, 1, 1]]
    assert batch.labels["lm"].tolist() == [[301, 3, IGNORE, IGNORE]] and batch.ids[0, 0] == CLS
