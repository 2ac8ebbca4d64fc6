"""The content of plain, `.gz` and `.zst` files in parts, with an error for a file that is cut off or damaged.

The memory needed is one part: 4 MiB, or what 16 KiB of `.zst` give.
"""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Callable, Iterator
from typing import IO

from uer_ds.errors import UserError

PART_BYTES = 4 << 20
ZST_BYTES = 16 << 10


def unpack(path: str, compression: str, advance: Callable[[int], None] = lambda count: None) -> Iterator[bytes]:
    """All of a file, uncompressed; `advance` is told the bytes read from the file itself."""
    told = 0
    with open(path, "rb") as file:
        try:
            for data in _UNPACKERS[compression](file):
                yield data
                advance(file.tell() - told)
                told = file.tell()
        except _Damaged as error:
            raise UserError(
                f"{path} ({os.path.getsize(path)} bytes) is damaged: {error}; expected a whole .{compression} file,"
                " copy it again."
            ) from None
        advance(file.tell() - told)


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
    """Frame by frame: the library's own stream reader says nothing when the last frame is cut off."""
    import zstandard

    frame = None
    try:
        while packed := file.read(ZST_BYTES):
            while packed:
                frame = frame or zstandard.ZstdDecompressor().decompressobj()
                yield frame.decompress(packed)
                packed = frame.unused_data
                if frame.eof:
                    frame = None
    except zstandard.ZstdError as error:
        raise _Damaged(str(error)) from None
    if frame is not None:
        raise _Damaged("its end is missing")


_UNPACKERS = {"": _plain, "gz": _gunzip, "zst": _unzst}
