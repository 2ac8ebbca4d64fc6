"""Pieces of JSON and Parquet files, and of text with columns, as batches of rows.

What a record must contain is said by the parsers of `rows`. A line that is none is passed on with its place and the
reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from uer_ds.data.corpus import Block, Piece, SourceFile, not_utf8, read_blocks
from uer_ds.data.json_list import read_list
from uer_ds.data.parquet import open_parquet, read_runs
from uer_ds.data.rows import LINE_PARSERS, RECORD_FIELDS, RECORD_PARSERS, Malformed, Row
from uer_ds.errors import UserError

LIST_HINT = "; a file that is one list of objects must be named .json, or given with --corpus_format json"


@dataclass
class RowBatch:
    """Rows of one block. `malformed`: (byte offset in the file, for Parquet row number; reason)."""

    rows: list[Row] = field(default_factory=list)
    malformed: list[tuple[int, str]] = field(default_factory=list)
    empty: int = 0


def read_rows(piece: Piece, rule: str, advance: Callable[[int], None]) -> Iterator[RowBatch]:
    """The rows of a piece under a document rule."""
    if piece.source.format == "parquet":
        yield from _parquet_rows(piece, rule, advance)
        return
    if piece.source.format == "json":
        yield from _list_rows(piece.source, RECORD_PARSERS[rule], advance)
        return
    parse = _json_parser(rule) if piece.source.format == "jsonl" else LINE_PARSERS[rule]
    for block in read_blocks(piece, advance):
        yield _parse_block(piece.source, block, parse)


def _parse_block(source: SourceFile, block: Block, parse: Callable[[str], Row]) -> RowBatch:
    try:
        lines = block.text.decode("utf-8").split("\n")[:-1]
    except UnicodeDecodeError:
        raise not_utf8(source, block) from None
    batch = RowBatch()
    bad: list[tuple[int, str]] = []  # (line of the block, reason)
    for number, line in enumerate(lines):
        try:
            if line and not line.isspace():
                batch.rows.append(parse(line))
            else:
                batch.empty += 1
        except Malformed as error:
            bad.append((number, str(error)))
    if bad:
        starts = _line_starts(block)
        batch.malformed = [(starts[number], reason) for number, reason in bad]
    return batch


def _line_starts(block: Block) -> list[int]:
    """Byte offsets of the block's lines in the file."""
    starts, position = [], block.offset
    for line in block.raw.split(b"\n"):
        starts.append(position)
        position += len(line) + 1
    return starts


def _list_rows(
    source: SourceFile, parse: Callable[[dict[str, Any]], Row], advance: Callable[[int], None]
) -> Iterator[RowBatch]:
    for elements in read_list(source, advance):
        batch = RowBatch()
        for element in elements:
            try:
                if not isinstance(element.value, dict):
                    raise Malformed("no JSON object")
                batch.rows.append(parse(element.value))
            except Malformed as error:
                batch.malformed.append((element.offset, str(error)))
        yield batch


def _json_parser(rule: str) -> Callable[[str], Row]:
    import orjson

    parse_record = RECORD_PARSERS[rule]

    def parse(line: str) -> Row:
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise Malformed(f"no JSON ({error}){LIST_HINT if line.lstrip()[0] == '[' else ''}") from None
        if not isinstance(record, dict):
            raise Malformed(f"no JSON object{LIST_HINT if isinstance(record, list) else ''}")
        return parse_record(record)

    return parse


def _parquet_rows(piece: Piece, rule: str, advance: Callable[[int], None]) -> Iterator[RowBatch]:
    file = open_parquet(piece.source)
    columns = [name for name in file.schema_arrow.names if name in RECORD_FIELDS]
    if not columns:
        raise UserError(
            f"{piece.source.path} has the columns {', '.join(file.schema_arrow.names)}; expected some of:"
            f" {', '.join(RECORD_FIELDS)}."
        )
    parse = RECORD_PARSERS[rule]
    first = 1 + sum(file.metadata.row_group(group).num_rows for group in range(piece.begin))
    groups = range(file.num_row_groups) if piece.source.compression else range(piece.begin, piece.end)
    for group in groups:
        for records in read_runs(piece.source, file, group, columns):
            yield _parse_records(records, first, parse)
            first += len(records)
        advance(piece.bytes // len(groups))


def _parse_records(records: list[dict[str, Any]], first: int, parse: Callable[[dict[str, Any]], Row]) -> RowBatch:
    batch = RowBatch()
    for number, record in enumerate(records, first):
        try:
            batch.rows.append(parse({key: value for key, value in record.items() if value is not None}))
        except Malformed as error:
            batch.malformed.append((number, str(error)))
    return batch
