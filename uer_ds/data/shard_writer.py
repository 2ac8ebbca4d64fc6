"""One shard, start to end: read its pieces, encode them, write its files, and last a record that says they are whole.

A shard is a pure function of its `ShardTask` and the tokenizers: its bytes do not depend on the process that makes it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from uer_ds.data.columns import LABEL, WORD_START, ColumnWriter
from uer_ds.data.corpus import Piece, SourceFile, line_numbers, not_utf8, read_blocks
from uer_ds.data.indexed import IndexedDatasetWriter
from uer_ds.data.manifest import ColumnRecord, ShardRecord, shard_from_json
from uer_ds.data.records import read_rows
from uer_ds.data.rows import Tokenizers, encode_rows
from uer_ds.data.rules import LINE_RULES, Encoded
from uer_ds.data.words import WordFinder
from uer_ds.errors import UserError
from uer_ds.storage.files import read_json_object, write_json
from uer_ds.tokenizers.base import InvalidUtf8

EXAMPLES = 10
"""Malformed lines that are shown."""


@dataclass(frozen=True)
class ShardTask:
    """What one shard is made of.

    Attributes:
        prefix: path of its files without ending.
        pieces: parts of the corpus, in order.
        rule: how text becomes documents.
        dtype: numpy name of the stored ids' type.
        columns: the side columns to write.
        strict: fail at the first malformed line instead of counting it.
    """

    prefix: str
    pieces: tuple[Piece, ...]
    rule: str
    dtype: str
    columns: tuple[ColumnRecord, ...] = ()
    strict: bool = False

    @property
    def record_path(self) -> Path:
        return Path(f"{self.prefix}.json")

    @property
    def bytes(self) -> int:
        """Bytes of the corpus, as reading reports them."""
        return sum(piece.bytes for piece in self.pieces)


def write_shard(task: ShardTask, tokenizers: Tokenizers, advance: Callable[[int], None]) -> ShardRecord:
    """Make one shard, or leave nothing; `advance` is told the bytes read and may raise to stop the work."""
    writer = ShardWriter(task)
    words = WordFinder(tokenizers.source) if WORD_START in task.columns else None
    try:
        for piece in task.pieces:
            for part in encode_piece(piece, task.rule, tokenizers, words, advance):
                if isinstance(part, Encoded):
                    writer.add(part)
                else:
                    writer.add_malformed(piece.source, part)
            writer.pair.end_document()
        return writer.finish(words.unplaced if words else 0)
    except BaseException:
        writer.abort()
        raise


MalformedLines = list[tuple[int, str]]
"""(byte offset of a line, or row number in a Parquet file; what is wrong with it)."""


def encode_piece(
    piece: Piece, rule: str, tokenizers: Tokenizers, words: WordFinder | None, advance: Callable[[int], None]
) -> Iterator[Encoded | MalformedLines]:
    """The items of a piece, block by block, and the lines that are no documents."""
    if piece.source.format == "txt" and rule in LINE_RULES:
        for block in read_blocks(piece, advance):
            try:
                yield LINE_RULES[rule](block.text, tokenizers.source, words)
            except InvalidUtf8:
                raise not_utf8(piece.source, block) from None
        return
    for batch in read_rows(piece, rule, advance):
        encoded = encode_rows(batch.rows, tokenizers, rule, words)
        yield dataclasses.replace(encoded, empty=encoded.empty + batch.empty)
        if batch.malformed:
            yield batch.malformed


class ShardWriter:
    """The files of one shard and what is counted on the way."""

    def __init__(self, task: ShardTask):
        self.task = task
        self.pair = IndexedDatasetWriter(task.prefix, np.dtype(task.dtype))
        self.columns = {column: ColumnWriter(task.prefix, column) for column in task.columns}
        self.empty = 0
        self.malformed = 0
        self.examples: list[tuple[SourceFile, int, str]] = []

    def add(self, encoded: Encoded) -> None:
        first_item = self.pair.items
        self.pair.add_items(encoded.ids, encoded.offsets)
        self.pair.end_documents(first_item + encoded.document_ends)
        self.empty += encoded.empty
        for column, numbers in ((LABEL, encoded.labels), (WORD_START, encoded.word_starts)):
            if column in self.columns:
                assert numbers is not None
                self.columns[column].append(numbers)

    def add_malformed(self, source: SourceFile, lines: MalformedLines) -> None:
        self.malformed += len(lines)
        room = EXAMPLES - len(self.examples)
        self.examples += [(source, place, reason) for place, reason in lines[:room]]
        if self.task.strict:
            raise UserError(
                f"{_places(self.examples)[0]}; mend it, or leave out --strict to skip and count such lines."
            )

    def finish(self, unplaced_tokens: int) -> ShardRecord:
        """Make the files whole, then say so."""
        files = [*self.pair.finish(), *(column.finish() for column in self.columns.values())]
        record = ShardRecord(
            name=Path(self.task.prefix).name,
            documents=self.pair.documents,
            items=self.pair.items,
            tokens=self.pair.tokens,
            empty_documents=self.empty,
            malformed_lines=self.malformed,
            malformed_examples=tuple(_places(self.examples)),
            files=tuple(files),
            unplaced_tokens=unplaced_tokens,
        )
        write_json(self.task.record_path, dataclasses.asdict(record))
        return record

    def abort(self) -> None:
        """Remove what was written under temporary names."""
        self.pair.abort()
        for column in self.columns.values():
            column.abort()


def _places(examples: list[tuple[SourceFile, int, str]]) -> list[str]:
    """Malformed lines in words, with file and line."""
    words = []
    for source in dict.fromkeys(source for source, _, _ in examples):
        own = [(place, reason) for other, place, reason in examples if other == source]
        if source.format == "parquet":
            numbers, unit = [place for place, _ in own], "row"
        else:
            numbers, unit = line_numbers(source, [place for place, _ in own]), "line"
        words += [f"{source.path}, {unit} {n}: {reason}" for n, (_, reason) in zip(numbers, own, strict=True)]
    return words


def finished_shard(task: ShardTask) -> ShardRecord | None:
    """The record of a shard that an earlier run finished, when its files are still there and have their sizes."""
    if not task.record_path.exists():
        return None
    record = shard_from_json(read_json_object(task.record_path, "the record of a finished shard"))
    folder = Path(task.prefix).parent
    for file in record.files:
        path = folder / file.name
        if not path.is_file() or path.stat().st_size != file.bytes:
            return None
    return record
