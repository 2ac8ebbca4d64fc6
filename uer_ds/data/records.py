"""Corpora of records: JSON lines and Parquet."""

from __future__ import annotations

from uer_ds.data.corpus import SourceFile
from uer_ds.errors import UserError


def row_groups(source: SourceFile) -> int:
    """The number of row groups of a Parquet file."""
    import pyarrow
    import pyarrow.parquet

    try:
        return pyarrow.parquet.ParquetFile(source.path).num_row_groups
    except pyarrow.ArrowInvalid as error:
        raise UserError(
            f"{source.path} is no Parquet file ({error}); copy it again, or name its --corpus_format."
        ) from None
