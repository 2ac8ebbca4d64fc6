"""`Dataset`: a folder of token shards as one long row of documents, and its vocabulary.

    dataset = open_dataset("corpus_zh")
    dataset.document(0)                       # ids of the first document, a view of the file
    dataset.load_tokenizer().decode(...)

Opening reads the manifest and two file headers a shard, never an index: the same few milliseconds for 10^9 documents.
Documents, items and tokens are numbered through all shards.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from uer_ds.data.indexed import IndexedDataset
from uer_ds.data.manifest import Manifest, ShardRecord, TokenizerRecord, read_manifest
from uer_ds.errors import UserError


def open_dataset(path: str | Path) -> Dataset:
    """Open a dataset folder. Raises `UserError` for a missing, foreign, unfinished or damaged one."""
    return Dataset(Path(path), read_manifest(path))


class Dataset:
    """A dataset folder, read-only.

    Attributes:
        folder: where it lies.
        manifest: what it says about itself.
        shards: the pairs of files, in order.
        documents, items, tokens: how many.
    """

    def __init__(self, folder: Path, manifest: Manifest):
        self.folder = folder
        self.manifest = manifest
        self.documents, self.items, self.tokens = manifest.documents, manifest.items, manifest.tokens
        self.shards = [_open_shard(folder, shard) for shard in manifest.shards]
        self._first_document = _starts(shard.documents for shard in manifest.shards)
        self._first_item = _starts(shard.items for shard in manifest.shards)
        self._first_token = _starts(shard.tokens for shard in manifest.shards)
        self._columns: dict[str, list[np.ndarray]] = {}

    def __reduce__(self) -> tuple[type[Dataset], tuple[Path, Manifest]]:
        return Dataset, (self.folder, self.manifest)

    def __len__(self) -> int:
        return self.documents

    def item(self, i: int) -> np.ndarray:
        """The ids of item `i`, a view."""
        shard, local = self._locate(i, self._first_item, "item")
        return self.shards[shard].item(local)

    def document(self, d: int) -> np.ndarray:
        """The ids of document `d`, all its items in a row, a view."""
        shard, local = self.locate_document(d)
        return self.shards[shard].document(local)

    def document_items(self, d: int) -> range:
        """The numbers of the items of document `d`."""
        shard, local = self.locate_document(d)
        first, end = self.shards[shard].document_bounds[local : local + 2]
        return range(self._first_item[shard] + int(first), self._first_item[shard] + int(end))

    def document_offset(self, d: int) -> int:
        """How many tokens stand before document `d` in the whole dataset; `documents` itself gives `tokens`."""
        if d == self.documents:
            return self.tokens
        shard, local = self.locate_document(d)
        pair = self.shards[shard]
        return self._first_token[shard] + pair.token_start(int(pair.document_bounds[local]))

    def locate_document(self, d: int) -> tuple[int, int]:
        """(shard, number inside the shard) of document `d`."""
        return self._locate(d, self._first_document, "document")

    def column(self, name: str, d: int) -> Any:
        """The number that the side column `name` has for document `d`."""
        shard, local = self.locate_document(d)
        return self.shard_columns(name)[shard][local]

    def shard_columns(self, name: str) -> list[np.ndarray]:
        """A side column, one memory-mapped array a shard."""
        if name not in self._columns:
            known = [column.name for column in self.manifest.columns]
            if name not in known:
                raise UserError(
                    f"{self.folder} has no column {name!r} (it has: {', '.join(known) or 'none'}); expected a dataset"
                    " of another layout: make it with the --data_processor that you train with."
                )
            files = [self.folder / f"{shard.name}.{name}.npy" for shard in self.manifest.shards]
            self._columns[name] = [_load_column(file) for file in files]
        return self._columns[name]

    def load_tokenizer(self, target: bool = False) -> Any:
        """The tokenizer that made the ids (`target`: of the target items), from the dataset's copy of its files."""
        from uer_ds.tokenizers import load_saved_tokenizer

        record = (target and self.manifest.target_tokenizer) or self.manifest.tokenizer
        return load_saved_tokenizer(self.folder / record.folder, record.description)

    def _locate(self, number: int, starts: Sequence[int], what: str) -> tuple[int, int]:
        if not 0 <= number < starts[-1]:
            raise IndexError(f"{what} {number} of {starts[-1]}")
        shard = bisect_right(starts, number) - 1
        return shard, number - starts[shard]


def describe(record: TokenizerRecord) -> str:
    """A tokenizer in words, for errors and reports."""
    kind = record.description.get("tokenizer", "")
    return f"the {kind} tokenizer of {record.vocab_size} entries (fingerprint {record.fingerprint[:8]})"


def _starts(counts: Any) -> list[int]:
    """[shards + 1] sums of the counts before each shard, then the total."""
    return [0, *accumulate(counts)]


def _open_shard(folder: Path, record: ShardRecord) -> IndexedDataset:
    shard = IndexedDataset(folder / record.name)
    found = (shard.documents, shard.items, len(shard.tokens))
    expected = (record.documents, record.items, record.tokens)
    if found != expected:
        raise UserError(
            f"{folder / record.name}.idx has {found[0]} documents, {found[1]} items and {found[2]} tokens, but the"
            f" manifest says {expected[0]}, {expected[1]} and {expected[2]}: the files belong to another dataset; copy"
            " the folder again."
        )
    return shard


def _load_column(path: Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise UserError(f"{path} is missing; it is part of the dataset: copy the folder again.") from None
    except (ValueError, EOFError) as error:
        raise UserError(f"{path} is damaged ({error}); copy the dataset again or make it again.") from None
