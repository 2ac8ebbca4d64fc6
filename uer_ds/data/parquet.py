"""Records of Parquet files in runs that fit a worker's memory, whatever the size of rows and row groups.

Nothing is mapped and no column is read whole: Arrow decodes one page at a time and some rows of it. A page is the least
that can be decoded, so a file that was written with pages of 100 MB costs some 200 MB.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

from uer_ds.data.corpus import BLOCK_BYTES, SourceFile
from uer_ds.data.unpack import unpack
from uer_ds.errors import UserError

DECODED_ROWS = 64
"""Rows that are decoded together at most: what they hold is known only afterwards."""
RUN_ROWS = 4096
"""Records in memory at a time; fewer where they have more than `BLOCK_BYTES` of content."""
BUFFER_BYTES = 1 << 20

Record = dict[str, Any]


def row_groups(source: SourceFile) -> int:
    """The number of row groups of a Parquet file."""
    return int(open_parquet(source).num_row_groups)


def open_parquet(source: SourceFile) -> Any:
    """The file as `pyarrow.parquet.ParquetFile`; `UserError` when it is none."""
    import pyarrow
    import pyarrow.parquet

    try:
        if source.compression:  # Parquet is read from its end, so it must be unpacked first
            unpacked = tempfile.TemporaryFile()
            unpacked.writelines(unpack(source.path, source.compression))
            return pyarrow.parquet.ParquetFile(unpacked, buffer_size=BUFFER_BYTES)
        return pyarrow.parquet.ParquetFile(source.path, buffer_size=BUFFER_BYTES)
    except pyarrow.ArrowInvalid as error:
        raise UserError(
            f"{source.path} is no Parquet file ({_reason(error)}); copy it again, or name its --corpus_format."
        ) from None


def read_runs(source: SourceFile, file: Any, group: int, columns: Sequence[str]) -> Iterator[list[Record]]:
    """The records of a row group, in order; `UserError` for damaged pages."""
    import pyarrow

    try:
        yield from _runs(file, group, columns)
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(
            f"{source.path}, row group {group}, cannot be read ({_reason(error)}); the file is damaged: copy it again."
        ) from None


def _runs(file: Any, group: int, columns: Sequence[str]) -> Iterator[list[Record]]:
    described = file.metadata.row_group(group)
    row_bytes = described.total_byte_size // max(described.num_rows, 1)
    rows = min(max(BLOCK_BYTES // max(row_bytes, 1), 1), DECODED_ROWS)
    run: list[Record] = []
    size = 0
    for batch in file.iter_batches(rows, row_groups=[group], columns=columns, use_threads=False):
        step = max(batch.num_rows * BLOCK_BYTES // max(batch.nbytes, 1), 1)
        for part in (batch.slice(start, step) for start in range(0, batch.num_rows, step)):
            run += part.to_pylist()
            size += part.nbytes
            if size >= BLOCK_BYTES or len(run) >= RUN_ROWS:
                yield run
                run, size = [], 0
    yield run


def _reason(error: Exception) -> str:
    return str(error).split(". ")[0].splitlines()[0].rstrip(".")
