"""Rows of a data file, one at a time: .tsv with a header line, .jsonl, .parquet. Memory does not grow with the file.

TSV as UER-py reads it: columns by name in any order, extra columns ignored, nothing quoted, CR and LF stripped.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

from uer_ds.errors import UserError


@dataclass(frozen=True)
class Row:
    """One row: `number` is its line in the file (record in Parquet), both from 1; `values` by column name."""

    number: int
    values: Mapping[str, Any]

    def text(self, column: str, separator: str = " ") -> str:
        """The value of `column` as text; a list's items with `separator` between them; empty when the row has none."""
        value = self.values.get(column)
        return separator.join(map(_text, value)) if isinstance(value, list) else _text(value)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to read: no text in any column `text_...`, or where there is none, in any column."""
        texts = [column for column in self.values if column.startswith("text_")]
        return not any(self.text(column).strip() for column in texts or self.values)


def _text(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def read_rows(path: str | Path, columns: Sequence[str], suffix: str | None = None) -> Iterator[Row]:
    """The rows of `path`, which must have `columns`.

    The format is that of the file's suffix, or of `suffix` where a task's files have always the same.

    Raises UserError, naming file and line, when the file or a row lacks one of the columns or is malformed.
    """
    path = Path(path)
    reader = _READERS.get(suffix or path.suffix, _read_tsv)
    try:
        yield from reader(path, columns)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}).") from error
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: no UTF-8 text ({error.reason} near byte {error.start}); convert it, for example "
            f"`iconv -f GB18030 -t UTF-8 {path.name}`."
        ) from error


def count_rows(path: str | Path) -> int | None:
    """About how many rows `path` has; None for one JSON value. Reads a text file once, as fast as the disk."""
    path = Path(path)
    if path.suffix == ".json" or not path.is_file():
        return None
    if path.suffix == ".parquet":
        import pyarrow.parquet

        return int(pyarrow.parquet.read_metadata(path).num_rows)
    with path.open("rb") as file:
        lines = sum(block.count(b"\n") for block in iter(partial(file.read, 2**20), b""))
    return lines if path.suffix == ".jsonl" else max(0, lines - 1)


def columns_of(path: str | Path) -> tuple[str, ...]:
    """The columns that the first row of `path` has; none for an empty file."""
    return tuple(next((row.values for row in read_rows(path, ())), {}))


def _missing(path: Path, wanted: Sequence[str], found: Sequence[str], where: str = "") -> None:
    missing = [column for column in wanted if column not in found]
    if missing:
        raise UserError(
            f"{path}: {where}has no column {', '.join(missing)}; found {', '.join(found) or 'nothing'}, expected "
            f"{', '.join(wanted)}."
        )


def _read_tsv(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig", newline="\n") as file:
        header = file.readline().rstrip("\r\n")
        names = header.split("\t") if header else []
        _missing(path, columns, names)
        places = [names.index(column) for column in columns]
        last = max(places, default=0)
        for number, line in enumerate(file, 2):
            fields = line.rstrip("\r\n").split("\t")
            if len(fields) <= last and line.strip():
                raise UserError(
                    f"{path}: line {number} has {len(fields)} columns; expected {len(names)} ({', '.join(names)}), "
                    "separated by tabs."
                )
            yield Row(number, dict(zip_longest(names, fields[: len(names)], fillvalue="")))


def _read_jsonl(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                values = json.loads(line)
            except json.JSONDecodeError as error:
                raise UserError(f"{path}: line {number} is not JSON ({error.msg}, column {error.colno}).") from error
            if not isinstance(values, dict):
                raise UserError(f"{path}: line {number} is a JSON {type(values).__name__}; expected an object.")
            _missing(path, columns, tuple(values), f"line {number} ")
            yield Row(number, values)


def _read_parquet(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path)
    except pyarrow.ArrowInvalid as error:
        raise UserError(f"{path}: is no Parquet file ({error}).") from error
    _missing(path, columns, file.schema_arrow.names)
    number = 0
    for batch in file.iter_batches():
        for values in batch.to_pylist():
            number += 1
            yield Row(number, values)


_READERS: dict[str, Callable[[Path, Sequence[str]], Iterator[Row]]] = {
    ".jsonl": _read_jsonl,
    ".parquet": _read_parquet,
}
