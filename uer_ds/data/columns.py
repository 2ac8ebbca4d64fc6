"""Side columns: one number a document or token, in a `.npy` file beside each shard.

label       int32 a document: the class of layout `labelled`.
word_start  bool a token: the token begins a word (of the text's language, not of the tokenizer).
"""

from __future__ import annotations

import io
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from uer_ds.data.files import COPY_BYTES, FileRecord, writing
from uer_ds.data.manifest import ColumnRecord

LABEL = ColumnRecord("label", "int32", "document")
WORD_START = ColumnRecord("word_start", "bool", "token")


class ColumnWriter:
    """Writes one column of one shard; the numbers wait in an unnamed temporary file until their count is known."""

    def __init__(self, prefix: str | Path, column: ColumnRecord):
        self.path = Path(f"{prefix}.{column.name}.npy")
        self.dtype = np.dtype(column.dtype)
        self._numbers = tempfile.TemporaryFile(dir=self.path.parent)
        self._count = 0

    def append(self, numbers: np.ndarray) -> None:
        self._numbers.write(np.ascontiguousarray(numbers, self.dtype).tobytes())
        self._count += len(numbers)

    def finish(self) -> FileRecord:
        self._numbers.seek(0)
        with writing(self.path) as file:
            file.write(_npy_header(self.dtype, self._count))
            while data := self._numbers.read(COPY_BYTES):
                file.write(data)
        self.abort()
        assert file.record is not None
        return file.record

    def abort(self) -> None:
        self._numbers.close()


def _npy_header(dtype: np.dtype[Any], count: int) -> bytes:
    header = io.BytesIO()
    description = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (count,)}
    np.lib.format.write_array_header_1_0(header, description)
    return header.getvalue()
