"""The .bin/.idx pair: what is written is read, and anything damaged or foreign is refused by name and byte count."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uer_ds.data.indexed import IndexedDataset, IndexedDatasetWriter, dtype_for_vocabulary
from uer_ds.errors import UserError

DOCUMENTS = [[[1, 2, 3], [4]], [[5, 6]], [[7], [8, 9], [10]]]


def write(prefix: Path, documents: list[list[list[int]]], dtype: type = np.int16) -> Path:
    with IndexedDatasetWriter(prefix, dtype) as writer:
        for document in documents:
            for item in document:
                writer.add_item(item)
            writer.end_document()
    return prefix


def read(prefix: Path) -> list[list[list[int]]]:
    data = IndexedDataset(prefix)
    bounds = data.document_bounds
    return [[data.item(i).tolist() for i in range(bounds[d], bounds[d + 1])] for d in range(data.documents)]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.lists(st.integers(0, 32767), min_size=1, max_size=5), min_size=1, max_size=4), max_size=6))
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, documents: list[list[list[int]]]) -> None:
    prefix = write(tmp_path_factory.mktemp("pair") / "shard", documents)
    assert read(prefix) == documents


def test_views(tmp_path: Path) -> None:
    data = IndexedDataset(write(tmp_path / "shard", DOCUMENTS))
    assert (data.items, data.documents, len(data.tokens)) == (6, 3, 10)
    assert data.document(2).tolist() == [7, 8, 9, 10]
    assert [data.token_start(i) for i in range(7)] == [0, 3, 4, 6, 7, 9, 10]
    assert np.shares_memory(data.item(1), data.tokens)
    assert pickle.loads(pickle.dumps(data)).item(4).tolist() == [8, 9]
    with pytest.raises(ValueError, match="read-only"):
        data.tokens[0] = 1


def test_many_items_at_once(tmp_path: Path) -> None:
    with IndexedDatasetWriter(tmp_path / "shard", np.int32) as writer:
        writer.add_items(np.arange(5), np.array([0, 2, 5]))
        writer.end_documents(np.array([0, 1, 1]))  # a bound said twice and one before the first item are no documents
        writer.add_items(np.arange(3), np.array([0, 3]))
    assert read(tmp_path / "shard") == [[[0, 1]], [[2, 3, 4], [0, 1, 2]]]


def test_pointers_of_a_large_index_are_right_across_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("uer_ds.data.indexed.COPY_BYTES", 8)
    data = IndexedDataset(write(tmp_path / "shard", DOCUMENTS, np.int32))
    assert data.pointers.tolist() == [0, 12, 16, 24, 28, 36]


@pytest.mark.parametrize(
    ("vocab_size", "name"), [(21128, "int16"), (32768, "int16"), (32769, "uint16"), (65500, "int32")]
)
def test_type_fits_every_id(tmp_path: Path, vocab_size: int, name: str) -> None:
    dtype = dtype_for_vocabulary(vocab_size)
    assert dtype == name
    data = IndexedDataset(write(tmp_path / "shard", [[[0, vocab_size - 1]]], dtype.type))
    assert data.item(0).tolist() == [0, vocab_size - 1]


def test_id_that_does_not_fit_is_never_written(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="do not fit"):
        write(tmp_path / "shard", [[[40000]]])
    assert list(tmp_path.iterdir()) == []


def test_without_documents_every_item_is_one(tmp_path: Path) -> None:
    prefix = write(tmp_path / "shard", DOCUMENTS)
    index = bytearray(Path(f"{prefix}.idx").read_bytes())
    index[26:34] = struct.pack("<Q", 1)
    Path(f"{prefix}.idx").write_bytes(index[: 34 + 6 * 12 + 8])
    assert IndexedDataset(prefix).documents == 6


def test_truncated_data(tmp_path: Path) -> None:
    prefix = write(tmp_path / "shard", DOCUMENTS)
    data = Path(f"{prefix}.bin")
    data.write_bytes(data.read_bytes()[:-2])
    with pytest.raises(UserError, match=r"shard\.bin has 18 bytes, but shard\.idx describes 20"):
        IndexedDataset(prefix)


def test_truncated_index(tmp_path: Path) -> None:
    prefix = write(tmp_path / "shard", DOCUMENTS)
    index = Path(f"{prefix}.idx")
    index.write_bytes(index.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"shard\.idx has 137 bytes.* asks for 138"):
        IndexedDataset(prefix)


@pytest.mark.parametrize("size", [33, 9, 4, 0])
def test_an_index_without_all_of_its_header(tmp_path: Path, size: int) -> None:
    prefix = write(tmp_path / "shard", DOCUMENTS)
    index = Path(f"{prefix}.idx")
    index.write_bytes(index.read_bytes()[:size])
    with pytest.raises(UserError, match=rf"shard\.idx is too short \({size} of 34 header bytes\)"):
        IndexedDataset(prefix)


def test_swapped_indexes(tmp_path: Path) -> None:
    first, second = write(tmp_path / "a", DOCUMENTS), write(tmp_path / "b", [*DOCUMENTS, [[1, 2]]])
    Path(f"{second}.idx").replace(f"{first}.idx")
    with pytest.raises(UserError, match=r"a\.bin has 20 bytes, but a\.idx describes 24"):
        IndexedDataset(first)


def test_data_in_place_of_the_index(tmp_path: Path) -> None:
    prefix = write(tmp_path / "shard", [[list(range(100))]])
    Path(f"{prefix}.idx").write_bytes(Path(f"{prefix}.bin").read_bytes())
    with pytest.raises(UserError, match=r"shard\.idx \(200 bytes\) begins with .*expected a Megatron index"):
        IndexedDataset(prefix)


@pytest.mark.parametrize(("position", "value"), [(9, 2), (17, 9)])
def test_unknown_version_or_type(tmp_path: Path, position: int, value: int) -> None:
    prefix = write(tmp_path / "shard", DOCUMENTS)
    index = bytearray(Path(f"{prefix}.idx").read_bytes())
    index[position] = value
    Path(f"{prefix}.idx").write_bytes(index)
    with pytest.raises(UserError, match="expected version 1 and a type of 1 to 8"):
        IndexedDataset(prefix)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nothing\.idx is missing"):
        IndexedDataset(tmp_path / "nothing")


def test_failure_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), IndexedDatasetWriter(tmp_path / "shard", np.int16) as writer:
        writer.add_item([1, 2])
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
