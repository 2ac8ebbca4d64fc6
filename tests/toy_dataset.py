"""Small real datasets made from lists of ids: `toy_dataset(tmp_path, [[[201, 202], [203]], ...])`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from uer_ds.data.dataset import Dataset, open_dataset
from uer_ds.data.indexed import IndexedDatasetWriter
from uer_ds.data.manifest import ColumnRecord, Manifest, ShardRecord, TokenizerRecord
from uer_ds.objectives.options import RowOptions
from uer_ds.tokenizers.special import SpecialIds

PAD, UNK, CLS, SEP, MASK, SENTINEL = 0, 100, 101, 102, 103, 900
VOCAB_SIZE = 1000
SPECIAL = SpecialIds(pad=PAD, unk=UNK, cls=CLS, sep=SEP, mask=MASK, sentinel=SENTINEL)

Document = Sequence[Sequence[int]]


def row_options(seq_length: int = 128, **values: Any) -> RowOptions:
    """Options for samples of a toy dataset."""
    return RowOptions(seq_length=seq_length, **{"vocab_size": VOCAB_SIZE, "special": SPECIAL, **values})


def toy_dataset(
    folder: Path,
    documents: Sequence[Document],
    shards: int = 1,
    layout: str = "sentences",
    columns: Mapping[ColumnRecord, Sequence[int]] | None = None,
) -> Dataset:
    """Write documents (lists of items, which are lists of ids) to `folder` and open them.

    `columns`: side columns and their numbers through all documents.
    """
    folder.mkdir(parents=True, exist_ok=True)
    columns = columns or {}
    records = []
    done = dict.fromkeys(columns, 0)
    for s in range(shards):
        part = documents[len(documents) * s // shards : len(documents) * (s + 1) // shards]
        records.append(_write_shard(folder, f"{s:05d}", part))
        for column, values in columns.items():
            count = records[-1].documents if column.per == "document" else records[-1].tokens
            numbers = np.asarray(values[done[column] : done[column] + count], column.dtype)
            np.save(folder / f"{s:05d}.{column.name}.npy", numbers)
            done[column] += count
    special = {"pad": PAD, "unk": UNK, "cls": CLS, "sep": SEP, "mask": MASK, "sentinel": SENTINEL}
    tokenizer = TokenizerRecord("tokenizer", {}, "toy", VOCAB_SIZE, special)
    manifest = Manifest(layout, "int16", tokenizer, None, shards=tuple(records), columns=tuple(columns))
    manifest.write(folder)
    return open_dataset(folder)


def _write_shard(folder: Path, name: str, documents: Sequence[Document]) -> ShardRecord:
    with IndexedDatasetWriter(folder / name, np.dtype(np.int16)) as writer:
        for document in documents:
            for item in document:
                writer.add_item(list(item))
            writer.end_document()
    return ShardRecord(name, writer.documents, writer.items, writer.tokens, 0, 0, malformed_examples=(), files=())


def random_documents(count: int, longest: int, seed: int = 0, items: int = 1) -> list[list[list[int]]]:
    """Documents of 1 .. `items` items of 1 .. `longest` ordinary ids."""
    rng = np.random.default_rng(seed)
    return [
        [rng.integers(200, 900, rng.integers(1, longest + 1)).tolist() for _ in range(rng.integers(1, items + 1))]
        for _ in range(count)
    ]
