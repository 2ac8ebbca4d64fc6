"""Rows against a stream that is built naively in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.toy_dataset import CLS, PAD, SEP, random_documents, toy_dataset
from uer_ds.data.columns import WORD_START
from uer_ds.data.dataset import Dataset
from uer_ds.data.tokens import TokenTable
from uer_ds.data.windows import BLOCK, DocumentRows, PackedRows, Rows, TokenStream


def open_stream(dataset: Dataset) -> TokenStream:
    return TokenStream(TokenTable(dataset), CLS, SEP, PAD)


def naive_stream(documents: list[list[list[int]]]) -> list[tuple[int, int]]:
    """(id, document) for every position of the stream."""
    stream = []
    for d, document in enumerate(documents):
        ids = [token for item in document for token in item]
        stream += [(token, d) for token in [CLS, *ids, SEP]]
    return stream


def check_row(rows: Rows, row: int, expected: list[tuple[int, int]]) -> None:
    """One row equals a piece of the naive stream, followed by padding."""
    ids, documents = [token for token, _ in expected], [d for _, d in expected]
    n, length = len(expected), rows.ids.shape[1]
    assert rows.ids[row].tolist() == ids + [PAD] * (length - n)
    assert rows.segments[row].tolist() == [1] * n + [0] * (length - n)
    assert rows.documents[row, :n].tolist() == [d - documents[0] for d in documents]
    assert (rows.documents[row, n:] > rows.documents[row, n - 1]).all()
    assert rows.positions[row, :n].tolist() == [sum(e == d for e in documents[:i]) for i, d in enumerate(documents)]


@pytest.mark.parametrize("shards", [1, 3, 5])
@pytest.mark.parametrize(("seq_length", "overlap"), [(8, 0), (16, 1), (64, 0), (1, 0)])
def test_packed_rows_are_the_stream(tmp_path: Path, shards: int, seq_length: int, overlap: int) -> None:
    documents = random_documents(40, longest=12, items=3)
    dataset = toy_dataset(tmp_path, documents, shards)
    rows = PackedRows(open_stream(dataset), seq_length, overlap)
    stream = naive_stream(documents)
    assert len(rows) == -(-(len(stream) - overlap) // seq_length)
    order = np.random.default_rng(0).permutation(len(rows))
    read = rows.read(order)
    for i, number in enumerate(order.tolist()):
        check_row(read, i, stream[number * seq_length : (number + 1) * seq_length + overlap])


def test_a_row_longer_than_the_dataset_is_padded(tmp_path: Path) -> None:
    rows = PackedRows(open_stream(toy_dataset(tmp_path, [[[201]], [[202]]])), 10)
    assert len(rows) == 1
    assert rows.read(np.array([0])).ids.tolist() == [[CLS, 201, SEP, CLS, 202, SEP, PAD, PAD, PAD, PAD]]


@pytest.mark.parametrize("length", [0, 5, 100])
def test_searching_few_and_many_positions_agree(tmp_path: Path, length: int) -> None:
    documents = random_documents(300, longest=9, items=2)
    table = TokenTable(toy_dataset(tmp_path, documents, 3))
    owners = [d for _, d in naive_stream(documents)]
    begins = {i for i, d in enumerate(owners) if i == 0 or d != owners[i - 1]} | {len(owners)}
    positions = np.arange(len(owners))
    together = table.documents_in(positions, length, spacing=2)
    alone = [table.documents_in(positions[i : i + 1], length, spacing=2) for i in range(len(positions))]
    assert together[0].tolist() == owners == [int(first[0]) for first, _, _ in alone]
    found = set(zip(together[1].tolist(), together[2].tolist(), strict=True))
    expected = {(i, c) for i in range(len(owners)) for c in range(length + 1) if i + c in begins}
    assert found == expected == {(i, c) for i, (_, _, columns) in enumerate(alone) for c in columns.tolist()}


@pytest.mark.parametrize("overlap", [0, 1])
def test_document_rows_cut_every_document_into_pieces(tmp_path: Path, overlap: int) -> None:
    documents = random_documents(2 * BLOCK + 50, longest=30)
    rows = DocumentRows(open_stream(toy_dataset(tmp_path, documents, 2)), 8, overlap)
    expected = []
    for d, [ids] in enumerate(documents):
        stream = [(token, d) for token in [CLS, *ids, SEP]]
        expected += [stream[start : start + 8 + overlap] for start in range(0, len(stream) - overlap, 8)]
    assert len(rows) == len(expected)
    order = np.random.default_rng(0).permutation(len(rows))
    read = rows.read(order)
    for i, number in enumerate(order.tolist()):
        check_row(read, i, expected[number])


def test_no_documents_give_no_rows(tmp_path: Path) -> None:
    stream = open_stream(toy_dataset(tmp_path, []))
    assert len(PackedRows(stream, 8)) == 0 and len(DocumentRows(stream, 8)) == 0


@pytest.mark.parametrize("packed", [True, False])
def test_word_bounds_follow_their_tokens(tmp_path: Path, packed: bool) -> None:
    documents = random_documents(60, longest=12)
    flags = [token % 3 == 0 for [ids] in documents for token in ids]  # ids below tell which flag belongs to them
    dataset = toy_dataset(tmp_path, documents, 3, columns={WORD_START: flags})
    stream = TokenStream(TokenTable(dataset), CLS, SEP, PAD, with_words=True)
    rows = (PackedRows if packed else DocumentRows)(stream, 16)
    read = rows.read(np.arange(len(rows)))
    assert read.word_starts is not None
    ordinary = (read.ids >= 200) & (read.segments > 0)
    assert (read.word_starts == ordinary & (read.ids % 3 == 0))[read.segments > 0].all()
