"""Prediction files, as UER-py writes them or .tsv, .jsonl, .parquet; whole or absent.

In TSV a list of numbers is separated by blanks, and every tag of a list of tags is followed by one; tabs and line ends
in texts become blanks.
Lists of several tasks are joined by vertical bars, their numbers rounded to four places.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from uer_ds.errors import UserError
from uer_ds.finetune.encode import BLOCK
from uer_ds.storage.files import replacing

Record = tuple[Any, ...]

BREAKS = str.maketrans("\t\r\n", "   ")
"""What would break a row of TSV."""


class Writer(Protocol):
    """Takes records in their order."""

    def write(self, records: Iterable[Record]) -> None:
        """Write all records, one after the other."""
        ...

    def close(self) -> None:
        """Everything is on disk afterwards."""
        ...


Document = Callable[[Iterable[Record]], Any]
"""All records -> one JSON value."""


@contextmanager
def prediction_file(
    path: Path, columns: Sequence[str], document: Document | None = None, json_lines: bool = False
) -> Iterator[Writer]:
    """A writer whose file gets the name `path` when the `with` block ends without an error.

    .tsv, .jsonl and .parquet are what they say. Any other ending gets what UER-py writes: one JSON value made by
    `document`, a line of JSON for each answer (`json_lines`, and .json where there is no document), or TSV.
    """
    try:
        with replacing(path) as partial:
            if document and path.suffix not in _WRITERS:
                writer: Writer = JsonWriter(partial, document)
            else:
                usual = JsonlWriter if json_lines or path.suffix == ".json" else TsvWriter
                writer = _WRITERS.get(path.suffix, usual)(partial, columns)
            try:
                yield writer
            finally:
                writer.close()
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error}); choose another path.") from error


class TsvWriter:
    """A header line, then a line for each record."""

    def __init__(self, path: Path, columns: Sequence[str]):
        self._file = path.open("w", encoding="utf-8", newline="\n")
        print("\t".join(columns), file=self._file)

    def write(self, records: Iterable[Record]) -> None:
        """One line each."""
        for record in records:
            print("\t".join(map(cell, record)), file=self._file)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def cell(value: Any) -> str:
    """A value as text in a TSV column."""
    if isinstance(value, (list, tuple)):
        if value and isinstance(value[0], str):
            return "".join(f"{item} " for item in value)
        if value and isinstance(value[0], list):
            return "|".join(" ".join(f"{number:.4f}" for number in numbers) for numbers in value)
        return " ".join(map(repr, value))
    return value.translate(BREAKS) if isinstance(value, str) else repr(value)


class JsonlWriter:
    """A JSON object for each record."""

    def __init__(self, path: Path, columns: Sequence[str]):
        self._file, self._columns = path.open("w", encoding="utf-8"), tuple(columns)

    def write(self, records: Iterable[Record]) -> None:
        """One line each."""
        for record in records:
            print(json.dumps(dict(zip(self._columns, record, strict=True)), ensure_ascii=False), file=self._file)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class JsonWriter:
    """One JSON value for the whole file, as UER-py writes it."""

    def __init__(self, path: Path, document: Document):
        self._file, self._document = path.open("w", encoding="utf-8"), document

    def write(self, records: Iterable[Record]) -> None:
        """All of it at once."""
        json.dump(self._document(records), self._file, ensure_ascii=False, indent=4)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class ParquetWriter:
    """A row group for each block of records."""

    def __init__(self, path: Path, columns: Sequence[str]):
        self._path, self._columns = path, tuple(columns)
        self._file: Any = None

    def write(self, records: Iterable[Record]) -> None:
        """The schema is that of the first block."""
        import pyarrow

        iterator = iter(records)
        while block := list(islice(iterator, BLOCK)):
            table = pyarrow.Table.from_pylist([dict(zip(self._columns, record, strict=True)) for record in block])
            self._open(table.schema)
            self._file.write_table(table.cast(self._file.schema))

    def close(self) -> None:
        """Write the footer; a file without records gets its columns all the same."""
        import pyarrow

        self._open(pyarrow.schema([(name, pyarrow.string()) for name in self._columns]))
        self._file.close()

    def _open(self, schema: Any) -> None:
        import pyarrow.parquet

        if self._file is None:
            self._file = pyarrow.parquet.ParquetWriter(self._path, schema)


_WRITERS: dict[str, Any] = {".tsv": TsvWriter, ".jsonl": JsonlWriter, ".parquet": ParquetWriter}
