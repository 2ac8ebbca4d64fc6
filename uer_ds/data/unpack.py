"""The content of plain, `.gz` and `.zst` files in parts, with an error for a file that is cut off or damaged.

The memory needed is one part of `PART_BYTES` and the unpacker's own window, however well the file was packed.
"""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Callable, Iterator
from typing import IO

from uer_ds.errors import UserError

PART_BYTES = 4 << 20


def unpack(path: str, compression: str, advance: Callable[[int], None] = lambda count: None) -> Iterator[bytes]:
    """All of a file, uncompressed; `advance` is told the bytes read from the file itself."""
    told, size = 0, os.path.getsize(path)
    with open(path, "rb") as file:
        try:
            for data in _UNPACKERS[compression](file):
                yield data
                advance(file.tell() - told)
                told = file.tell()
        except _Damaged as error:
            raise UserError(
                f"{path} ({size} bytes) is damaged: {error}; expected a whole .{compression} file, copy it again."
            ) from None
    advance(size - told)  # the file itself may be closed by now


class _Damaged(Exception):
    pass


def _plain(file: IO[bytes]) -> Iterator[bytes]:
    while data := file.read(PART_BYTES):
        yield data


def _gunzip(file: IO[bytes]) -> Iterator[bytes]:
    unpacked = gzip.GzipFile(fileobj=file)
    try:
        while data := unpacked.read(PART_BYTES):
            yield data
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise _Damaged(str(error).rstrip(".")) from None


def _unzst(file: IO[bytes]) -> Iterator[bytes]:
    """By Arrow: unlike the usual bindings it bounds what it gives and says when the last frame is cut off."""
    import pyarrow

    unpacked = pyarrow.CompressedInputStream(file, "zstd")
    try:
        while data := unpacked.read(PART_BYTES):
            yield data
    except OSError as error:
        if error.errno is not None:  # of the disk, not of the content
            raise
        raise _Damaged(str(error).rstrip(".")) from None


_UNPACKERS = {"": _plain, "gz": _gunzip, "zst": _unzst}
