"""Several datasets into one, and one into two: `merge` and `split`. Text is not tokenised again.

The result is written in a folder beside its place and renamed when it is whole.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from uer_ds.data.build_folder import staging
from uer_ds.data.columns import ColumnWriter
from uer_ds.data.dataset import Dataset, describe
from uer_ds.data.files import FileRecord
from uer_ds.data.indexed import IndexedDataset, IndexedDatasetWriter
from uer_ds.data.manifest import Manifest, ShardRecord
from uer_ds.data.measure import token_starts
from uer_ds.data.permutation import permute
from uer_ds.errors import UserError

CHUNK_DOCUMENTS = 1 << 13
CHUNK_TOKENS = 1 << 24


def merge(datasets: Sequence[Dataset], output: Path, command: tuple[str, ...] = ()) -> Manifest:
    """One dataset with the shards of all, in order. Files are linked where the file system can, else copied."""
    first = datasets[0].manifest
    for dataset in datasets[1:]:
        _check_alike(datasets[0], dataset)
    total = sum(len(dataset.shards) for dataset in datasets)
    with staging(output) as [folder]:
        _copy_tokenizers(datasets[0], folder)
        shards: list[ShardRecord] = []
        for dataset in datasets:
            for record in dataset.manifest.shards:
                name = f"shard-{len(shards):05d}-of-{total:05d}"
                files = tuple(_take_file(dataset.folder, file, record.name, name, folder) for file in record.files)
                shards.append(dataclasses.replace(record, name=name, files=files))
        manifest = dataclasses.replace(
            first,
            shards=tuple(shards),
            sources=tuple(source for dataset in datasets for source in dataset.manifest.sources),
            preparation="; ".join(dict.fromkeys(dataset.manifest.preparation for dataset in datasets)),
            command=command,
        )
        manifest.write(folder)
    return manifest


def split(
    dataset: Dataset,
    held_out: int,
    outputs: tuple[Path, Path],
    seed: int,
    advance: Callable[[int], None],
    command: tuple[str, ...] = (),
) -> tuple[Manifest, Manifest]:
    """Training and held-out datasets by document; `held_out` documents, drawn by `seed`, go to the second.

    `advance` is told the documents done.
    """
    with staging(*outputs) as folders:
        first = 0
        records: list[tuple[ShardRecord, ShardRecord]] = []
        for number, shard in enumerate(dataset.shards):
            wanted = _HeldOut(first, dataset.documents, held_out, seed)
            records.append(_split_shard(dataset, number, folders, wanted, advance))
            first += shard.documents
        manifests = [
            dataclasses.replace(dataset.manifest, shards=tuple(side), command=command)
            for side in zip(*records, strict=True)
        ]
        for manifest, folder in zip(manifests, folders, strict=True):
            _copy_tokenizers(dataset, folder)
            manifest.write(folder)
    return manifests[0], manifests[1]


@dataclass(frozen=True)
class _HeldOut:
    """Which documents of a shard are held out: those that a keyed permutation of all puts among the first `count`."""

    first: int
    documents: int
    count: int
    seed: int

    def of(self, chunk: range) -> np.ndarray:
        """[documents] bool for documents of the shard."""
        numbers = np.arange(self.first + chunk.start, self.first + chunk.stop)
        return permute(numbers, self.documents, self.seed) < self.count


def _split_shard(
    dataset: Dataset, number: int, folders: list[Path], held_out: _HeldOut, advance: Callable[[int], None]
) -> tuple[ShardRecord, ShardRecord]:
    train, held = (_PartWriter(dataset, number, folder) for folder in folders)
    try:
        for chunk in document_chunks(dataset.shards[number]):
            is_held_out = held_out.of(chunk)
            train.add(chunk, ~is_held_out)
            held.add(chunk, is_held_out)
            advance(len(chunk))
        return train.finish(), held.finish()
    except BaseException:
        train.abort()
        held.abort()
        raise


class _PartWriter:
    """One shard of one side of a split."""

    def __init__(self, dataset: Dataset, number: int, folder: Path):
        self.name = dataset.manifest.shards[number].name
        self.shard = dataset.shards[number]
        self.pair = IndexedDatasetWriter(folder / self.name, np.dtype(dataset.manifest.dtype))
        self.columns = [
            (column.per, dataset.shard_columns(column.name)[number], ColumnWriter(folder / self.name, column))
            for column in dataset.manifest.columns
        ]

    def add(self, chunk: range, wanted: np.ndarray) -> None:
        """Append those documents of `chunk` (numbers inside the shard) that are `wanted` ([documents] bool)."""
        bounds = self.shard.document_bounds[chunk.start : chunk.stop + 1]
        starts = token_starts(self.shard, bounds)
        items, tokens = slice(bounds[0], bounds[-1]), slice(starts[0], starts[-1])
        item_counts = np.diff(bounds)
        wanted_items, wanted_tokens = np.repeat(wanted, item_counts), np.repeat(wanted, np.diff(starts))
        first_item = self.pair.items
        sizes = self.shard.sizes[items][wanted_items]
        self.pair.add_items(self.shard.tokens[tokens][wanted_tokens], np.concatenate([[0], np.cumsum(sizes)]))
        self.pair.end_documents(first_item + np.cumsum(item_counts[wanted]))
        pick = {"document": (slice(chunk.start, chunk.stop), wanted), "token": (tokens, wanted_tokens)}
        for per, numbers, writer in self.columns:
            where, kept = pick[per]
            writer.append(numbers[where][kept])

    def finish(self) -> ShardRecord:
        files = (*self.pair.finish(), *(writer.finish() for _, _, writer in self.columns))
        return ShardRecord(self.name, self.pair.documents, self.pair.items, self.pair.tokens, 0, 0, (), files)

    def abort(self) -> None:
        self.pair.abort()
        for _, _, writer in self.columns:
            writer.abort()


def document_chunks(shard: IndexedDataset) -> Iterator[range]:
    """Runs of documents small enough for memory."""
    first = 0
    while first < shard.documents:
        count = min(CHUNK_DOCUMENTS, shard.documents - first)
        while count > 1 and _tokens_between(shard, first, first + count) > CHUNK_TOKENS:
            count //= 2
        yield range(first, first + count)
        first += count


def _tokens_between(shard: IndexedDataset, first: int, end: int) -> int:
    bounds = shard.document_bounds
    return shard.token_start(int(bounds[end])) - shard.token_start(int(bounds[first]))


def _check_alike(one: Dataset, other: Dataset) -> None:
    a, b = one.manifest, other.manifest
    if a.tokenizer.fingerprint != b.tokenizer.fingerprint:
        raise UserError(
            f"{one.folder} was made with {describe(a.tokenizer)}, {other.folder} with {describe(b.tokenizer)}; only"
            " datasets of one vocabulary can be merged."
        )
    targets = [m.target_tokenizer.fingerprint if m.target_tokenizer else "" for m in (a, b)]
    for what, x, y in (
        ("layout", a.layout, b.layout),
        ("type of ids", a.dtype, b.dtype),
        ("target vocabulary", *targets),
        ("side columns", *([c.name for c in m.columns] for m in (a, b))),
    ):
        if x != y:
            raise UserError(f"{one.folder} and {other.folder} differ in their {what} ({x!s}, {y!s}); make them alike.")


def _copy_tokenizers(dataset: Dataset, folder: Path) -> None:
    for record in (dataset.manifest.tokenizer, dataset.manifest.target_tokenizer):
        if record is not None:
            shutil.copytree(dataset.folder / record.folder, folder / record.folder)


def _take_file(source: Path, file: FileRecord, old: str, new: str, folder: Path) -> FileRecord:
    """Link or copy a shard's file under the shard's new name."""
    name = new + file.name.removeprefix(old)
    try:
        os.link(source / file.name, folder / name)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source / file.name, folder / name)
    return dataclasses.replace(file, name=name)
