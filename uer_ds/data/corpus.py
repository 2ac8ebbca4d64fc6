"""The files of a corpus: which they are, and their text in blocks of whole lines.

A corpus is files, folders and globs; `.txt` (and every unknown ending), `.jsonl`, `.json` (a list of objects, or one
object a line), `.parquet`, each also `.gz` and `.zst`. Reading keeps one block of `BLOCK_BYTES` in memory, whatever the
size of the file.
"""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from uer_ds.data.manifest import SourceRecord
from uer_ds.data.unpack import unpack
from uer_ds.errors import UserError
from uer_ds.tokenizers.base import CONVERT_HINT

BLOCK_BYTES = 4 << 20
MAX_LINE_BYTES = 16 << 20
"""The longest line; a longer one means that the line ends are wrong, and would not fit a worker's memory."""

FORMATS = ("txt", "jsonl", "json", "parquet")
EXTENSIONS = {".txt": "txt", ".tsv": "txt", ".jsonl": "jsonl", ".json": "json", ".parquet": "parquet"}
COMPRESSIONS = {".gz": "gz", ".zst": "zst"}
ENDINGS = {*EXTENSIONS, *COMPRESSIONS}
"""What a file of a folder is known by, in either case; a file that is named itself may have any ending."""
SAMPLES, SAMPLE_BYTES = 64, 64 << 10
FULL_BYTES = 256 << 20
"""A corpus up to this size is recognised by all of its bytes (0.2 s); a larger one by samples and dates."""
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
    """A part of a source file.

    Attributes:
        source: the file.
        begin, end: bytes of plain text, row groups of Parquet; a compressed file and a JSON list are 0 to 1.
        bytes: its share of the file's size.
    """

    source: SourceFile
    begin: int
    end: int
    bytes: int


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
    files = [file for path in paths for file in _expand(path, corpus_format)]
    sources = tuple(_source(file, corpus_format) for file in files)
    if not sum(source.bytes for source in sources):
        raise UserError(f"--corpus_path {' '.join(paths)} is empty (0 bytes); expected text in UTF-8.")
    return sources


def skipped_files(paths: Sequence[str], corpus_format: str | None = None) -> list[Path]:
    """The files of folders that `find_sources` leaves out because their endings say nothing."""
    found = [file for path in paths if Path(path).is_dir() for file in _visible_files(path)]
    return [file for file in found if not _is_text(file, corpus_format)]


def _expand(path: str, corpus_format: str | None) -> list[Path]:
    if Path(path).is_file():
        return [Path(path)]
    if Path(path).is_dir():
        found = [file for file in _visible_files(path) if _is_text(file, corpus_format)]
        if not found:
            raise UserError(
                f"--corpus_path {path} is a folder without a file ending in {', '.join(sorted(ENDINGS))}; name the"
                " --corpus_format to take all its files."
            )
        return found
    found = sorted(Path(match) for match in glob.glob(path, recursive=True) if Path(match).is_file())
    if not found:
        raise UserError(
            f"--corpus_path {path} does not exist; expected a text file, a folder or a pattern such as 'data/*.txt'."
        )
    return found


def _visible_files(folder: str) -> list[Path]:
    """All files in a folder and its folders; not hidden ones, nor other programs' empty marks (`_SUCCESS`)."""
    found = sorted(file for file in Path(folder).rglob("*") if file.is_file() and (file.suffix or file.stat().st_size))
    return [file for file in found if not any(part.startswith(".") for part in file.relative_to(folder).parts)]


def _is_text(file: Path, corpus_format: str | None) -> bool:
    return corpus_format is not None or file.suffix.lower() in ENDINGS


def _source(path: Path, corpus_format: str | None) -> SourceFile:
    compression = COMPRESSIONS.get(path.suffix.lower(), "")
    inner = Path(path.stem).suffix if compression else path.suffix
    form = corpus_format or EXTENSIONS.get(inner.lower(), "txt")
    if form == "json" and not _is_list(path, compression):
        form = "jsonl"
    return SourceFile(str(path), path.stat().st_size, form, compression)


def _is_list(path: Path, compression: str) -> bool:
    """Whether a JSON file is one list; otherwise it has one object a line."""
    start = next((data for data in unpack(str(path), compression) if data.strip(BOM).strip()), b"")
    return start.strip(BOM).lstrip().startswith(b"[")


def source_records(sources: Sequence[SourceFile]) -> tuple[SourceRecord, ...]:
    """What is remembered of a corpus: a checksum of all of it up to `FULL_BYTES`, else of samples of each file."""
    full = sum(source.bytes for source in sources) <= FULL_BYTES
    return tuple(
        SourceRecord(
            path=source.path,
            bytes=source.bytes,
            sample=_checksum(source, source.bytes if full else SAMPLES * SAMPLE_BYTES),
            modified=0 if full else Path(source.path).stat().st_mtime_ns,
        )
        for source in sources
    )


def _checksum(source: SourceFile, wanted: int) -> str:
    """Of about `wanted` bytes in blocks spread over the file."""
    digest = hashlib.sha256(str(source.bytes).encode())
    blocks = max(-(-wanted // SAMPLE_BYTES), 1)
    stride = max(SAMPLE_BYTES, source.bytes // blocks)
    with open(source.path, "rb") as file:
        for position in range(0, source.bytes, stride):
            file.seek(position)
            digest.update(file.read(SAMPLE_BYTES))
    return digest.hexdigest()


def read_blocks(piece: Piece, advance: Callable[[int], None]) -> Iterator[Block]:
    """The text of `piece` in blocks of whole lines; `advance` is told how many bytes of the source file were read.

    A last line without newline gets one. Raises `UserError` for a line longer than `MAX_LINE_BYTES` or a damaged file.
    """
    source = piece.source
    offset, carry = piece.begin, b""
    for data in _read(piece, advance):
        lines = carry + data
        end = lines.rfind(b"\n") + 1
        raw, carry = lines[:end], lines[end:]
        if len(carry) > MAX_LINE_BYTES:
            raise UserError(
                f"{source.path} has a line of more than {MAX_LINE_BYTES >> 20} MiB at byte {offset + end}; expected one"
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


def _read(piece: Piece, advance: Callable[[int], None]) -> Iterator[bytes]:
    source = piece.source
    return unpack(source.path, source.compression, advance) if source.compression else _read_range(piece, advance)


def _read_range(piece: Piece, advance: Callable[[int], None]) -> Iterator[bytes]:
    with open(piece.source.path, "rb") as file:
        file.seek(piece.begin)
        left = piece.end - piece.begin
        while left:
            data = file.read(min(BLOCK_BYTES, left))
            if not data:
                raise UserError(
                    f"{piece.source.path} became shorter while it was read ({left} bytes are missing); leave the corpus"
                    " alone and run the same command again."
                )
            left -= len(data)
            advance(len(data))
            yield data


def not_utf8(source: SourceFile, block: Block) -> UserError:
    """The error for a block that is not UTF-8: file, byte offset, line."""
    try:
        block.raw.decode("utf-8")
    except UnicodeDecodeError as error:
        offset = block.offset + error.start
        line = line_numbers(source, [offset])[0]
        return UserError(
            f"{source.path} is not UTF-8: byte {offset} (line {line}) is 0x{block.raw[error.start]:02x};"
            f" {CONVERT_HINT}."
        )
    raise AssertionError("the tokenizer refused valid UTF-8")


def line_numbers(source: SourceFile, offsets: Sequence[int]) -> list[int]:
    """The lines, from 1, that hold these bytes (ascending) of the uncompressed file."""
    numbers: list[int] = []
    line, position = 1, 0
    for data in unpack(source.path, source.compression):
        end = position + len(data)
        while len(numbers) < len(offsets) and offsets[len(numbers)] < end:
            numbers.append(line + data.count(b"\n", 0, offsets[len(numbers)] - position))
        if len(numbers) == len(offsets):
            break
        line += data.count(b"\n")
        position = end
    return numbers
