"""Rows against a stream that is built naively in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from toy_dataset import CLS, PAD, SEP, random_documents, toy_dataset

from uer_ds.data.windows import BLOCK, DocumentRows, PackedRows, Rows, TokenStream


def naive_stream(documents: list[list[list[int]]], brackets: bool = True) -> list[tuple[int, int]]:
    """(id, document) for every position of the stream."""
    stream = []
    for d, document in enumerate(documents):
        ids = [token for item in document for token in item]
        stream += [(token, d) for token in ([CLS, *ids, SEP] if brackets else ids)]
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
@pytest.mark.parametrize("brackets", [True, False])
@pytest.mark.parametrize(("seq_length", "overlap"), [(8, 0), (16, 1), (64, 0), (1, 0)])
def test_packed_rows_are_the_stream(tmp_path: Path, shards: int, brackets: bool, seq_length: int, overlap: int) -> None:
    documents = random_documents(40, longest=12, items=3)
    dataset = toy_dataset(tmp_path, documents, shards)
    rows = PackedRows(TokenStream(dataset, CLS, SEP, PAD, brackets), seq_length, overlap)
    stream = naive_stream(documents, brackets)
    assert len(rows) == -(-(len(stream) - overlap) // seq_length)
    order = np.random.default_rng(0).permutation(len(rows))
    read = rows.read(order)
    for i, number in enumerate(order.tolist()):
        check_row(read, i, stream[number * seq_length : (number + 1) * seq_length + overlap])


def test_a_row_longer_than_the_dataset_is_padded(tmp_path: Path) -> None:
    rows = PackedRows(TokenStream(toy_dataset(tmp_path, [[[201]], [[202]]]), CLS, SEP, PAD), 10)
    assert len(rows) == 1
    assert rows.read(np.array([0])).ids.tolist() == [[CLS, 201, SEP, CLS, 202, SEP, PAD, PAD, PAD, PAD]]


def test_searching_few_and_many_positions_agree(tmp_path: Path) -> None:
    documents = random_documents(300, longest=9, items=2)
    stream = TokenStream(toy_dataset(tmp_path, documents, 2), CLS, SEP, PAD)
    positions = np.arange(stream.length)
    expected = [d for _, d in naive_stream(documents)]
    assert stream.find(positions).tolist() == expected
    assert [int(stream.find(positions[i : i + 1])[0]) for i in range(0, len(positions), 7)] == expected[::7]


@pytest.mark.parametrize("overlap", [0, 1])
def test_document_rows_cut_every_document_into_pieces(tmp_path: Path, overlap: int) -> None:
    documents = random_documents(2 * BLOCK + 50, longest=30)
    rows = DocumentRows(TokenStream(toy_dataset(tmp_path, documents, 2), CLS, SEP, PAD), 8, overlap)
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
    stream = TokenStream(toy_dataset(tmp_path, []), CLS, SEP, PAD)
    assert len(PackedRows(stream, 8)) == 0 and len(DocumentRows(stream, 8)) == 0
