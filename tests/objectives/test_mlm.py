"""mlm batches: labels are the true ids of what was hidden, and nothing else changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.toy_dataset import CLS, MASK, PAD, SEP, random_documents, row_options, toy_dataset
from uer_ds.data.batch import IGNORE
from uer_ds.data.columns import WORD_START
from uer_ds.data.tokens import TokenTable
from uer_ds.data.windows import PackedRows, TokenStream
from uer_ds.errors import UserError
from uer_ds.objectives import build_objective
from uer_ds.objectives.mlm import MaskedLanguageModel
from uer_ds.tokenizers.special import SpecialIds


@pytest.mark.parametrize("span", [False, True])
def test_packed_rows_with_hidden_tokens(tmp_path: Path, span: bool) -> None:
    dataset = toy_dataset(tmp_path, random_documents(100, 30))
    objective = MaskedLanguageModel(dataset, row_options(32, span_masking=span))
    numbers = np.arange(len(objective) - 1)
    batch = objective.batch(np.zeros_like(numbers), numbers)
    rows = PackedRows(TokenStream(TokenTable(dataset), CLS, SEP, PAD), 32).read(numbers)
    ids, labels = batch.ids.numpy(), batch.labels["mlm"].numpy()
    chosen = labels != IGNORE
    assert (labels[chosen] == rows.ids[chosen]).all() and (ids[~chosen] == rows.ids[~chosen]).all()
    assert (chosen.sum(axis=1) <= 5).all() and (ids[chosen] == MASK).mean() > 0.6
    assert batch.documents is not None and (batch.documents.numpy() == rows.documents).all()
    assert batch.positions is not None and (batch.positions.numpy() == rows.positions).all()


def test_one_document_a_row(tmp_path: Path) -> None:
    objective = MaskedLanguageModel(toy_dataset(tmp_path, [[[201] * 4], [[202] * 9]]), row_options(8, no_packing=True))
    batch = objective.batch(np.zeros(3, int), np.arange(3))
    assert len(objective) == 3 and batch.documents is None and batch.positions is None
    assert batch.segments.sum(dim=1).tolist() == [6, 8, 3]
    assert (batch.labels["mlm"] != IGNORE).sum(dim=1).tolist() == [1, 1, 1]


def test_epochs_differ_and_samples_do_not_depend_on_their_batch(tmp_path: Path) -> None:
    objective = MaskedLanguageModel(toy_dataset(tmp_path, random_documents(50, 30)), row_options(32))
    first = objective.batch(np.array([0, 1, 0]), np.array([3, 3, 4]))
    alone = objective.batch(np.array([1]), np.array([3]))
    assert (first.ids[1] == alone.ids[0]).all() and (first.labels["mlm"][1] == alone.labels["mlm"][0]).all()
    assert (first.labels["mlm"][0] != first.labels["mlm"][1]).any()


def test_a_vocabulary_without_mask_is_refused(tmp_path: Path) -> None:
    special = SpecialIds(pad=PAD, unk=None, cls=CLS, sep=SEP, mask=None, sentinel=None)
    options = row_options(special=special, seq_length=16)
    with pytest.raises(UserError, match="no mask token, which the mlm objective needs"):
        build_objective("mlm", toy_dataset(tmp_path, [[[201]]]), options)


@pytest.mark.parametrize("values", [{"span_geo_prob": 0.0}, {"span_geo_prob": 1.5}, {"span_max_length": 0}])
def test_impossible_spans_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(UserError, match=f"--{next(iter(values))} is .*; expected"):
        row_options(span_masking=True, **values)


def test_whole_words_come_from_the_dataset(tmp_path: Path) -> None:
    documents = random_documents(60, 40)
    flags = [token % 2 == 0 for [ids] in documents for token in ids]  # an odd id continues a word
    dataset = toy_dataset(tmp_path / "words", documents, columns={WORD_START: flags})
    options = row_options(seq_length=64, whole_word_masking=True)
    objective = build_objective("mlm", dataset, options)
    batch = objective.batch(np.zeros(10, int), np.arange(10))
    labels, ids = batch.labels["mlm"].numpy(), batch.ids.numpy()
    chosen = labels != IGNORE
    true = np.where(chosen, labels, ids)
    ordinary = ~np.isin(true, [PAD, CLS, SEP, MASK])
    continues = ordinary[:, 1:] & ordinary[:, :-1] & (true[:, 1:] % 2 == 1)
    assert continues.sum() > 100 and (chosen[:, 1:] == chosen[:, :-1])[continues].all()
    with pytest.raises(UserError, match="plain holds no word bounds"):
        build_objective("mlm", toy_dataset(tmp_path / "plain", documents), options)
