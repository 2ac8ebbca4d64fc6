"""Looking into a finished dataset: how long its documents are, and whether every byte of it is as it was written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from uer_ds.data.dataset import Dataset
from uer_ds.data.files import sha256_of
from uer_ds.data.indexed import IndexedDataset
from uer_ds.errors import UserError

CHUNK = 1 << 22
"""Items, documents or tokens looked at together."""
MAX_DOCUMENTS = 20_000_000
"""A histogram of more documents is made from an even sample of this many."""


def document_lengths(shard: IndexedDataset, stride: int = 1) -> Iterator[np.ndarray]:
    """Tokens in each document (every `stride`-th), in chunks."""
    step = CHUNK * stride
    for first in range(0, shard.documents, step):
        bounds = shard.document_bounds[first : first + step + 1]
        starts, ends = bounds[:-1:stride], bounds[1::stride]
        yield token_starts(shard, ends[: len(starts)]) - token_starts(shard, starts)


def token_starts(shard: IndexedDataset, items: np.ndarray) -> np.ndarray:
    """Where items begin in `shard.tokens`; the number of items itself gives the end."""
    if not shard.items:
        return np.zeros(len(items), np.int64)
    starts = shard.pointers[np.minimum(items, shard.items - 1)] // shard.dtype.itemsize
    starts[items == shard.items] = len(shard.tokens)
    return starts


def length_histogram(dataset: Dataset) -> list[tuple[int, int]]:
    """(shortest length, documents) for classes that double: 0, 1, 2-3, 4-7, ...; without the empty ends."""
    stride = -(-dataset.documents // MAX_DOCUMENTS) or 1
    counts = np.zeros(64, np.int64)
    for shard in dataset.shards:
        for lengths in document_lengths(shard, stride):
            counts += np.bincount(np.frexp(lengths)[1], minlength=64)  # 1 + floor(log2 n), and 0 for 0
    filled = np.flatnonzero(counts)
    if not len(filled):
        return []
    return [(1 << i >> 1, int(counts[i]) * stride) for i in range(filled[0], filled[-1] + 1)]


def verify(dataset: Dataset, advance: Callable[[int], None]) -> None:
    """Read everything and compare it with the manifest; raises `UserError` at the first difference.

    `advance` is told the bytes read, `total_bytes` in all.
    """
    for record, shard in zip(dataset.manifest.shards, dataset.shards, strict=True):
        for file in record.files:
            path = dataset.folder / file.name
            _verify_file(path, file.bytes, file.sha256)
            advance(file.bytes)
        verify_index(shard)
        verify_ids(f"{shard.prefix}.bin", shard.tokens, _vocab_size(dataset))
    for column in dataset.manifest.columns:
        for shard, numbers in zip(dataset.shards, dataset.shard_columns(column.name), strict=True):
            expected = {"document": shard.documents, "token": len(shard.tokens)}[column.per]
            if len(numbers) != expected:
                raise _damaged(f"{shard.prefix}.{column.name}.npy", f"has {len(numbers)} numbers, expected {expected}")
    for target in (False, True):
        dataset.load_tokenizer(target)


def total_bytes(dataset: Dataset) -> int:
    """Size of all shard files."""
    return sum(file.bytes for shard in dataset.manifest.shards for file in shard.files)


def _vocab_size(dataset: Dataset) -> int:
    records = (dataset.manifest.tokenizer, dataset.manifest.target_tokenizer)
    return max(record.vocab_size for record in records if record is not None)


def _verify_file(path: Path, size: int, sha256: str) -> None:
    if not path.is_file():
        raise UserError(f"{path} is missing; copy the dataset again or make it again.")
    if path.stat().st_size != size:
        raise _damaged(path, f"has {path.stat().st_size} bytes, the manifest says {size}")
    found = sha256_of(path)
    if found != sha256:
        raise _damaged(path, f"has the SHA-256 {found[:12]}..., the manifest says {sha256[:12]}...")


def verify_index(shard: IndexedDataset) -> None:
    """Sizes, pointers and bounds must tell the same story."""
    end = 0
    for first in range(0, shard.items, CHUNK):
        sizes = shard.sizes[first : first + CHUNK].astype(np.int64) * shard.dtype.itemsize
        ends = end + np.cumsum(sizes)
        if (sizes < 0).any() or not np.array_equal(shard.pointers[first : first + CHUNK], ends - sizes):
            raise _damaged(f"{shard.prefix}.idx", f"has sizes and offsets that differ after item {first}")
        end = int(ends[-1])
    for first in range(0, shard.documents, CHUNK):
        if (np.diff(shard.document_bounds[first : first + CHUNK + 1]) < 0).any():
            raise _damaged(f"{shard.prefix}.idx", f"has document bounds that go back after document {first}")


def verify_ids(path: str, tokens: np.ndarray, vocab_size: int) -> None:
    """Every id of the file must be one of the vocabulary."""
    for first in range(0, len(tokens), CHUNK):
        ids = tokens[first : first + CHUNK]
        if int(ids.max()) >= vocab_size or int(ids.min()) < 0:
            raise _damaged(path, f"has ids outside the vocabulary of {vocab_size} entries")


def _damaged(path: str | Path, what: str) -> UserError:
    return UserError(f"{path} {what}: it is damaged or of another dataset; copy the dataset again or make it again.")
