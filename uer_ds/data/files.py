"""Files of datasets, whole or absent, and their checksums, computed while writing so that nothing is read twice.

The checksum is SHA-256 (`sha256sum` checks it too; over 1 GB/s a core). What a kill leaves ends in `.tmp`; the next
run removes it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from uer_ds.storage.files import put_in_place, temporary_name

COPY_BYTES = 4 << 20
"""How much of a file is in memory at a time when it is copied or checked."""


@dataclass(frozen=True)
class FileRecord:
    """What a finished file must be.

    Attributes:
        name: file name, without folder.
        bytes: its size.
        sha256: checksum in hexadecimal digits.
    """

    name: str
    bytes: int
    sha256: str


class FileWriter:
    """A file written under a temporary name; `finish` makes it durable and gives it its name, `abort` removes it."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.size = 0  # bytes written
        self.record: FileRecord | None = None  # once finished
        self._temporary = temporary_name(self.path)
        self._hash = hashlib.sha256()
        self._file: IO[bytes] = open(self._temporary, "wb", buffering=0)

    def write(self, data: Any) -> None:
        """Append a bytes-like object (a C-contiguous array too)."""
        view = memoryview(data).cast("B") if len(data) else memoryview(b"")
        self._hash.update(view)
        self.size += view.nbytes
        while view.nbytes:  # an unbuffered write may take less than all of it
            view = view[self._file.write(view) :]

    def finish(self) -> FileRecord:
        self._file.close()
        put_in_place(self._temporary, self.path)
        self.record = FileRecord(self.path.name, self.size, self._hash.hexdigest())
        return self.record

    def abort(self) -> None:
        self._file.close()
        self._temporary.unlink(missing_ok=True)


@contextmanager
def writing(path: str | Path) -> Iterator[FileWriter]:
    """A `FileWriter` that is finished on success and aborted on any exception."""
    writer = FileWriter(path)
    try:
        yield writer
    except BaseException:
        writer.abort()
        raise
    writer.finish()


def sha256_of(path: str | Path) -> str:
    """The checksum of `FileRecord.sha256` for a file on disk."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while data := file.read(COPY_BYTES):
            digest.update(data)
    return digest.hexdigest()
