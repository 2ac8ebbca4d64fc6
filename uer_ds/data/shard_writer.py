"""One shard, start to end: read its pieces, encode them, write its files, and last a record that says they are whole.

A shard is a pure function of its `ShardTask` and the tokenizers: bytes do not depend on the process that makes it. It
needs some 50 MB beside the tokenizer, whatever the size of the corpus.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from uer_ds.data import rules
from uer_ds.data.corpus import Block, Piece, not_utf8, read_blocks
from uer_ds.data.files import read_json, write_json
from uer_ds.data.indexed import IndexedDatasetWriter
from uer_ds.data.manifest import ShardRecord, shard_from_json
from uer_ds.tokenizers.base import InvalidUtf8, Tokenizer

ENCODERS = {"line": rules.encode_documents, "blank_line": rules.encode_sentences}


@dataclass(frozen=True)
class ShardTask:
    """What one shard is made of.

    Attributes:
        prefix: path of its files without ending.
        pieces: parts of the corpus, in order.
        rule: how text becomes documents, a key of `ENCODERS`.
        dtype: numpy name of the stored ids' type.
    """

    prefix: str
    pieces: tuple[Piece, ...]
    rule: str
    dtype: str

    @property
    def record_path(self) -> Path:
        return Path(f"{self.prefix}.json")

    @property
    def bytes(self) -> int:
        """Bytes of the corpus that reading reports, for progress."""
        return sum(p.source.bytes if p.source.compression else p.end - p.begin for p in self.pieces)


def write_shard(task: ShardTask, tokenizer: Tokenizer, advance: Callable[[int], None]) -> ShardRecord:
    """Make one shard.

    `advance` is told the bytes read and may raise to stop the work. Nothing stays behind on an exception.
    """
    writer = IndexedDatasetWriter(task.prefix, np.dtype(task.dtype))
    empty = 0
    try:
        for piece in task.pieces:
            for block in read_blocks(piece, advance):
                empty += _write_block(writer, task.rule, piece, block, tokenizer)
            writer.end_document()
        files = writer.finish()
    except BaseException:
        writer.abort()
        raise
    name = Path(task.prefix).name
    record = ShardRecord(name, writer.documents, writer.items, writer.tokens, empty, 0, files)
    write_json(task.record_path, dataclasses.asdict(record))
    return record


def _write_block(writer: IndexedDatasetWriter, rule: str, piece: Piece, block: Block, tokenizer: Any) -> int:
    """Encode one block and append it; returns the number of texts without tokens."""
    try:
        encoded = ENCODERS[rule](block.text, tokenizer)
    except InvalidUtf8:
        raise not_utf8(piece.source, block) from None
    first_item = writer.items
    writer.add_items(encoded.ids, encoded.offsets)
    writer.end_documents(first_item + encoded.document_ends)
    return encoded.empty


def finished_shard(task: ShardTask) -> ShardRecord | None:
    """The record of a shard that an earlier run finished, when its files are still there and have their sizes."""
    if not task.record_path.exists():
        return None
    record = shard_from_json(read_json(task.record_path, "the record of a finished shard"))
    folder = Path(task.prefix).parent
    for file in record.files:
        path = folder / file.name
        if not path.is_file() or path.stat().st_size != file.bytes:
            return None
    return record
