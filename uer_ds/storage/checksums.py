"""CRC-32 of files, computed while they are written or read; tells damage, not malice. About 1 GB/s on one core."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

BLOCK = 1 << 22

FileSums = Mapping[str, Iterable[int]]
"""Path inside a folder -> (size in bytes, CRC-32)."""


class SummedFile:
    """A file for writing that knows size and checksum of what was written. Keeps the error that stopped it: torch.save
    replaces it by one of its own."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self.size, self.checksum = 0, 0
        self.error: OSError | None = None

    def write(self, data: bytes | memoryview) -> int:
        """As `file.write`."""
        try:
            self._file.write(data)
        except OSError as error:
            self.error = error
            raise
        size = memoryview(data).nbytes
        self.size += size
        self.checksum = zlib.crc32(data, self.checksum)
        return size

    def flush(self) -> None:
        """As `file.flush`."""
        self._file.flush()


@dataclass(frozen=True)
class Fault:
    """What is wrong with one file."""

    path: Path
    words: str

    def __str__(self) -> str:
        return f"{self.path} {self.words}"


def file_checksum(path: Path) -> int:
    """CRC-32 of a whole file."""
    checksum = 0
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            checksum = zlib.crc32(block, checksum)
    return checksum


def size_and_sum(path: Path) -> tuple[int, int]:
    """Size and checksum of a file."""
    return path.stat().st_size, file_checksum(path)


def wrong_size(folder: Path, files: FileSums) -> Fault | None:
    """The first of `files` that is missing or has another size; reads no file."""
    for name, (size, _) in sorted(files.items()):
        path = folder / name
        try:
            found = path.stat().st_size
        except OSError as error:
            return Fault(path, f"is not there ({error.strerror})")
        if found != size:
            return Fault(path, f"has {found} bytes, {size} were written")
    return None


def wrong_checksum(folder: Path, files: FileSums, part: int = 0, parts: int = 1) -> Fault | None:
    """The first damaged one of every `parts`-th file; several ranks check a folder together."""
    for name, (_, checksum) in sorted(files.items())[part::parts]:
        try:
            found = file_checksum(folder / name)
        except OSError as error:
            return Fault(folder / name, f"cannot be read ({error.strerror})")
        if found != checksum:
            return Fault(folder / name, f"has the checksum {found:08x}, {checksum:08x} was written")
    return None
