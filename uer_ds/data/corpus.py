"""The files of a corpus: which they are, where they may be cut, and their text in blocks of whole lines.

A corpus is files, folders and globs; `.txt` (and every unknown ending), `.jsonl`, `.parquet`, each also `.gz` and
`.zst`. Plain text can be cut at any line (or blank line), a Parquet file between row groups, a compressed file not at
all. Reading keeps one block of `BLOCK_BYTES` in memory, whatever the size of the file.
"""

from __future__ import annotations

import glob
import gzip
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from uer_ds.errors import UserError

BLOCK_BYTES = 4 << 20
MAX_LINE_BYTES = 64 << 20
"""The longest line; a longer one means that the line ends are wrong, and would not fit a worker's memory."""

FORMATS = ("txt", "jsonl", "parquet")
EXTENSIONS = {".txt": "txt", ".tsv": "txt", ".jsonl": "jsonl", ".json": "jsonl", ".parquet": "parquet"}
COMPRESSIONS = {".gz": "gz", ".zst": "zst"}
SAMPLES, SAMPLE_BYTES = 64, 64 << 10
BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class SourceFile:
    """One file of the corpus: path, size in bytes, format (`FORMATS`) and compression ("", "gz" or "zst")."""

    path: str
    bytes: int
    format: str
    compression: str


@dataclass(frozen=True)
class Piece:
    """A part of a source file, `begin` to `end`.

    Bytes of plain text, row groups of Parquet; a compressed file is 0 to 1.
    """

    source: SourceFile
    begin: int
    end: int


@dataclass(frozen=True)
class Block:
    """Whole lines of text.

    Attributes:
        text: UTF-8, every line ends with a newline (no carriage return before it, no byte order mark).
        raw: the same as it stands in the file.
        offset: where `raw` begins in the (uncompressed) file.
    """

    text: bytes
    raw: bytes
    offset: int


def find_sources(paths: Sequence[str], corpus_format: str | None = None) -> tuple[SourceFile, ...]:
    """Expand files, folders and globs, in the order given (sorted inside a folder or glob).

    Raises `UserError` for a path that does not exist and for a corpus without a single byte.
    """
    files = [file for path in paths for file in _expand(path)]
    sources = tuple(_source(file, corpus_format) for file in files)
    if not sum(source.bytes for source in sources):
        raise UserError(f"--corpus_path {' '.join(paths)} is empty (0 bytes); expected text in UTF-8.")
    return sources


def _expand(path: str) -> list[Path]:
    if Path(path).is_file():
        return [Path(path)]
    if Path(path).is_dir():
        known = {*EXTENSIONS, *COMPRESSIONS}
        found = sorted(file for file in Path(path).rglob("*") if file.suffix in known and file.is_file())
        if not found:
            raise UserError(f"--corpus_path {path} is a folder without a file ending in {', '.join(sorted(known))}.")
        return found
    matches = sorted(Path(match) for match in glob.glob(path, recursive=True))
    if not matches:
        raise UserError(
            f"--corpus_path {path} does not exist; expected a text file, a folder or a pattern such as 'data/*.txt'."
        )
    return [file for match in matches if match.is_file() for file in [match]]


def _source(path: Path, corpus_format: str | None) -> SourceFile:
    compression = COMPRESSIONS.get(path.suffix, "")
    inner = Path(path.stem).suffix if compression else path.suffix
    return SourceFile(str(path), path.stat().st_size, corpus_format or EXTENSIONS.get(inner, "txt"), compression)


def sample_checksum(source: SourceFile) -> str:
    """A checksum of 64 blocks spread over the file (all of it up to 4 MiB).

    Tells an edited file without reading all of it.
    """
    digest = hashlib.sha256(str(source.bytes).encode())
    stride = max(SAMPLE_BYTES, source.bytes // SAMPLES)
    with open(source.path, "rb") as file:
        for position in range(0, source.bytes, stride):
            file.seek(position)
            digest.update(file.read(SAMPLE_BYTES))
    return digest.hexdigest()


def open_text(source: SourceFile) -> IO[bytes]:
    """The (uncompressed) bytes of a file."""
    if source.compression == "gz":
        return gzip.open(source.path, "rb")  # type: ignore[return-value]
    if source.compression == "zst":
        import zstandard

        return zstandard.open(source.path, "rb")
    return open(source.path, "rb")


def read_blocks(piece: Piece, advance: Callable[[int], None]) -> Iterator[Block]:
    """The text of `piece` in blocks of whole lines; `advance` is told how many bytes of the source file were read.

    A last line without newline gets one. Raises `UserError` for a line longer than `MAX_LINE_BYTES` or a damaged file.
    """
    source = piece.source
    with open_text(source) as file:
        offset, carry = piece.begin, b""
        for data in _read_parts(file, piece, advance):
            lines = carry + data
            end = lines.rfind(b"\n") + 1
            raw, carry = lines[:end], lines[end:]
            if len(carry) > MAX_LINE_BYTES:
                raise UserError(
                    f"{source.path} has a line of more than {MAX_LINE_BYTES >> 20} MiB at byte {offset + end};"
                    " expected one"
                    " document or sentence a line: check that lines end with a newline."
                )
            if end:
                yield Block(_clean(raw, offset), raw, offset)
                offset += end
        if carry:
            yield Block(_clean(carry, offset) + b"\n", carry, offset)


def _clean(raw: bytes, offset: int) -> bytes:
    if offset == 0 and raw.startswith(BOM):
        raw = raw[len(BOM) :]
    return raw.replace(b"\r\n", b"\n") if b"\r" in raw else raw


def _read_parts(file: IO[bytes], piece: Piece, advance: Callable[[int], None]) -> Iterator[bytes]:
    if piece.source.compression:
        yield from _read_compressed(file, piece.source, advance)
        return
    file.seek(piece.begin)
    left = piece.end - piece.begin
    while left:
        data = file.read(min(BLOCK_BYTES, left))
        if not data:
            raise UserError(
                f"{piece.source.path} became shorter while it was read ({left} bytes are missing); leave the corpus"
                " alone"
                " and run the same command again."
            )
        left -= len(data)
        advance(len(data))
        yield data


def _read_compressed(file: IO[bytes], source: SourceFile, advance: Callable[[int], None]) -> Iterator[bytes]:
    import zlib

    errors: tuple[type[Exception], ...] = (EOFError, gzip.BadGzipFile, zlib.error)
    if source.compression == "zst":
        import zstandard

        errors = (zstandard.ZstdError,)
    text_bytes = 0
    try:
        while data := file.read(BLOCK_BYTES):
            text_bytes += len(data)
            yield data
    except errors as error:
        raise UserError(
            f"{source.path} is damaged after {text_bytes} bytes of text ({error}); expected a whole"
            f" .{source.compression} file:"
            " copy it again."
        ) from None
    advance(source.bytes)


def not_utf8(source: SourceFile, block: Block) -> UserError:
    """The error for a block that is not UTF-8: file, byte offset, line."""
    try:
        block.raw.decode("utf-8")
    except UnicodeDecodeError as error:
        offset = block.offset + error.start
        return UserError(
            f"{source.path} is not UTF-8: byte {offset} (line {line_number(source, offset)}) is"
            f" 0x{block.raw[error.start]:02x};"
            " convert the file first, e.g. with `iconv -f GB18030 -t UTF-8`."
        )
    raise AssertionError("the tokenizer refused valid UTF-8")


def line_number(source: SourceFile, offset: int) -> int:
    """The line, from 1, that holds byte `offset` of the (uncompressed) file."""
    line, position = 1, 0
    with open_text(source) as file:
        while position < offset and (data := file.read(min(BLOCK_BYTES, offset - position))):
            line += data.count(b"\n")
            position += len(data)
    return line
