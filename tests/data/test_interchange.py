"""The indexed format between three programs: DeepSpeed's reader and writer, megatron-core's, and ours."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from uer_ds.data.indexed import IndexedDataset, IndexedDatasetWriter
from uer_ds.errors import UserError

DOCUMENTS = [[[1, 2, 3], [4]], [[5, 600]], [[7], [8, 9], [21127]]]
ITEMS = [item for document in DOCUMENTS for item in document]
BOUNDS = [0, 2, 3, 6]


@pytest.fixture(scope="module")
def deepspeed() -> ModuleType:
    return pytest.importorskip("deepspeed.runtime.data_pipeline.data_sampling.indexed_dataset")


@pytest.fixture(scope="module")
def megatron() -> ModuleType:
    """megatron-core's module. It is not a dependency: `pip install --no-deps --target build/megatron megatron-core`."""
    sys.path.append(str(Path(__file__).resolve().parents[2] / "build" / "megatron"))
    return pytest.importorskip("megatron.core.datasets.indexed_dataset", exc_type=ImportError)


def write(prefix: Path, dtype: Any) -> Path:
    with IndexedDatasetWriter(prefix, dtype) as writer:
        for document in DOCUMENTS:
            for item in document:
                writer.add_item(item)
            writer.end_document()
    return prefix


def check(data: IndexedDataset) -> None:
    assert [data.item(i).tolist() for i in range(data.items)] == ITEMS
    assert data.document_bounds.tolist() == BOUNDS


@pytest.mark.parametrize("dtype", [np.int16, np.int32])
def test_deepspeed_reads_ours(tmp_path: Path, deepspeed: ModuleType, dtype: Any) -> None:
    theirs = deepspeed.MMapIndexedDataset(str(write(tmp_path / "shard", dtype)), skip_warmup=True)
    assert [theirs[i].tolist() for i in range(len(theirs))] == ITEMS
    assert [item.tolist() for item in theirs[0:3]] == ITEMS[:3]
    assert theirs.doc_idx.tolist() == BOUNDS
    assert theirs.dtype == dtype


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.int64, np.uint16, np.uint32, np.uint64])
def test_we_read_deepspeeds(tmp_path: Path, deepspeed: ModuleType, dtype: Any) -> None:
    builder = deepspeed.MMapIndexedDatasetBuilder(str(tmp_path / "shard.bin"), dtype=dtype)
    for document in DOCUMENTS:
        for item in document:
            builder.add_item_numpy(np.array(item))
        builder.end_document()
    builder.finalize(str(tmp_path / "shard.idx"))
    data = IndexedDataset(tmp_path / "shard")
    check(data)
    assert data.dtype == dtype


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.uint16])
def test_megatron_reads_ours(tmp_path: Path, megatron: ModuleType, dtype: Any) -> None:
    theirs = megatron.IndexedDataset(str(write(tmp_path / "shard", dtype)))
    assert [theirs[i].tolist() for i in range(len(theirs))] == ITEMS
    assert theirs.document_indices.tolist() == BOUNDS
    assert theirs.index.dtype == dtype


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.int64, np.uint16])
@pytest.mark.parametrize("multimodal", [False, True])
def test_we_read_megatrons(tmp_path: Path, megatron: ModuleType, dtype: Any, multimodal: bool) -> None:
    torch = pytest.importorskip("torch")
    builder = megatron.IndexedDatasetBuilder(str(tmp_path / "shard.bin"), dtype=dtype, multimodal=multimodal)
    for document in DOCUMENTS:
        for item in document:
            builder.add_item(torch.tensor(item))
        builder.end_document()
    builder.finalize(str(tmp_path / "shard.idx"))
    data = IndexedDataset(tmp_path / "shard")
    check(data)
    assert data.dtype == dtype


def test_fractions_are_refused(tmp_path: Path, megatron: ModuleType) -> None:
    builder = megatron.IndexedDatasetBuilder(str(tmp_path / "shard.bin"), dtype=np.float64)
    builder.add_document(pytest.importorskip("torch").ones(3), [3])
    builder.finalize(str(tmp_path / "shard.idx"))
    with pytest.raises(UserError, match=r"shard\.bin has 24 bytes"):
        IndexedDataset(tmp_path / "shard")
