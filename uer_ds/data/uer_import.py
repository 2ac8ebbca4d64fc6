"""UER-py's `dataset.pt` -> a dataset folder, for those who no longer have the text.

Static masking with `--dup_factor` stores each text several times; copies are left out and counted. It costs some 100
bytes of memory a document.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from uer_ds import __version__
from uer_ds.data.build_folder import staging
from uer_ds.data.columns import LABEL, ColumnWriter
from uer_ds.data.indexed import IndexedDatasetWriter, dtype_for_vocabulary
from uer_ds.data.manifest import Manifest, ShardRecord, SourceRecord
from uer_ds.data.shards import save_tokenizer
from uer_ds.data.uer_stream import NOT_READ, READERS, Document, Foreign, Marks, read_instances
from uer_ds.errors import UserError, unknown_name
from uer_ds.objective_specs import OBJECTIVE_SPECS
from uer_ds.tokenizers.base import Tokenizer

SHARD = "shard-00000-of-00001"


def import_dataset(
    path: Path,
    output: Path,
    processor: str,
    tokenizer: Tokenizer,
    advance: Callable[[int], None],
    target_tokenizer: Tokenizer | None = None,
    command: tuple[str, ...] = (),
) -> tuple[Manifest, int]:
    """Write `output`; returns its manifest and the number of copies that were left out."""
    if processor in NOT_READ:
        raise UserError(f"a {processor} dataset cannot be brought over: {NOT_READ[processor]}; prepare the text anew.")
    if processor not in READERS:
        raise unknown_name("data_processor", processor, READERS, "uer-ds dataset import")
    if not path.is_file():
        raise UserError(f"{path} does not exist; expected a dataset.pt of UER-py.")
    tokenizer.require("cls", "sep")
    assert tokenizer.special.cls is not None and tokenizer.special.sep is not None
    layout, read = OBJECTIVE_SPECS[processor].layouts[0], READERS[processor]
    documents = _Distinct(read(read_instances(path, advance), Marks(tokenizer.special.cls, tokenizer.special.sep)))
    sizes = [t.vocab_size for t in (tokenizer, target_tokenizer) if t is not None]
    with staging(output) as [folder]:
        shard = _write(documents, folder, layout, max(sizes), path)
        manifest = Manifest(
            layout=layout,
            dtype=dtype_for_vocabulary(max(sizes)).name,
            **save_tokenizers(tokenizer, target_tokenizer, folder),
            shards=(shard,),
            columns=(LABEL,) if layout == "labelled" else (),
            sources=(SourceRecord(str(path), path.stat().st_size, ""),),
            sampling={"data_processor": processor},
            preparation=f"imported from UER-py ({processor})",
            command=command,
            version=__version__,
        )
        manifest.write(folder)
    return manifest, documents.copies


def save_tokenizers(tokenizer: Tokenizer, target: Tokenizer | None, folder: Path) -> dict[str, Any]:
    """The two fields of a manifest that are about tokenizers; their files go into the dataset's folder."""
    return {
        "tokenizer": save_tokenizer(tokenizer, folder, "tokenizer"),
        "target_tokenizer": save_tokenizer(target, folder, "target_tokenizer") if target else None,
    }


class _Distinct:
    """Documents without those that were there before."""

    def __init__(self, documents: Iterator[Document]):
        self._documents = documents
        self._seen: set[bytes] = set()
        self.copies = 0

    def __iter__(self) -> Iterator[Document]:
        for document in self._documents:
            key = hashlib.blake2b(repr(document).encode(), digest_size=12).digest()
            if key in self._seen:
                self.copies += 1
                continue
            self._seen.add(key)
            yield document


def _write(documents: _Distinct, folder: Path, layout: str, vocab_size: int, path: Path) -> ShardRecord:
    """The one shard of an imported dataset."""
    pair = IndexedDatasetWriter(folder / SHARD, dtype_for_vocabulary(vocab_size))
    labels = ColumnWriter(folder / SHARD, LABEL)
    try:
        empty = _copy(documents, pair, labels, layout, vocab_size)
        if not pair.documents:
            raise UserError(f"{path} holds no instance with text; expected a dataset.pt of UER-py.")
        files = (*pair.finish(), *((labels.finish(),) if layout == "labelled" else ()))
    except (Foreign, TypeError, IndexError) as error:
        raise UserError(
            f"{path}, after {pair.documents} documents: an instance of another form ({error}); name the"
            " --data_processor and the vocabulary that it was made with."
        ) from None
    finally:
        pair.abort()
        labels.abort()
    return ShardRecord(SHARD, pair.documents, pair.items, pair.tokens, empty, 0, (), files)


def _copy(documents: _Distinct, pair: IndexedDatasetWriter, labels: ColumnWriter, layout: str, vocab_size: int) -> int:
    """Append all documents; returns how many had no text (of a pair: on one side)."""
    empty = 0
    for document in documents:
        items = [item for item in document.items if item]
        if len(items) < (len(document.items) if layout == "pairs" else 1):
            empty += 1
            continue
        for item in items:
            _check_ids(item, vocab_size)
            pair.add_item(item)
        pair.end_document()
        labels.append(np.array([document.label]))
    return empty


def _check_ids(item: list[int], vocab_size: int) -> None:
    if not 0 <= min(item) <= max(item) < vocab_size:
        raise Foreign(f"id {max(item)}, but the vocabulary has {vocab_size} entries")
