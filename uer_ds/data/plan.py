"""Which part of the corpus becomes which shard: a pure function of the corpus and the number of shards.

The files are laid end to end and cut into parts of equal size; every cut moves to the next bound of a document, so
that no document is split and none is lost. Processes and ranks then only share out the shards: the result is the same
for any number of them.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import IO

from uer_ds.data.corpus import Piece, SourceFile
from uer_ds.data.parquet import row_groups
from uer_ds.data.unpack import unpack

SHARD_BYTES = 1 << 30
READLINE_BYTES = 1 << 20
LOOK_BYTES = 64 << 20
TAIL_BYTES = 256
_BLANK_LINE = re.compile(rb"\n[ \t\r]*\n\s*\S")


def default_shards(total_bytes: int, processes: int) -> int:
    """As many shards as keep every process equally busy and each shard below 1 GiB of corpus."""
    return processes * -(-total_bytes // (processes * SHARD_BYTES))


def plan_shards(sources: Sequence[SourceFile], shards: int, blank_line: bool) -> list[tuple[Piece, ...]]:
    """The pieces of each of `shards` shards. `blank_line`: documents end at blank lines, else at every line."""
    starts = [0, *accumulate(source.bytes for source in sources)]
    cuts: list[tuple[int, int]] = [(0, 0)]
    for shard in range(1, shards):
        position = starts[-1] * shard // shards
        number = min(bisect_right(starts, position) - 1, len(sources) - 1)
        cut = (number, _align(sources[number], position - starts[number], blank_line, cuts[-1], number))
        cuts.append(max(cuts[-1], cut))
    cuts.append((len(sources), 0))
    return [_pieces_between(sources, cuts[i], cuts[i + 1]) for i in range(shards)]


def has_blank_lines(sources: Sequence[SourceFile]) -> bool:
    """Whether blank lines separate documents: true at the first one before more text, false for records and after 64
    MiB."""
    seen = 0
    for source in sources:
        tail = b""
        for data in unpack(source.path, source.compression) if source.format == "txt" else ():
            if _BLANK_LINE.search(tail + data):
                return True
            tail, seen = data[-TAIL_BYTES:], seen + len(data)
            if seen >= LOOK_BYTES:
                return False
    return False


def _pieces_between(sources: Sequence[SourceFile], first: tuple[int, int], last: tuple[int, int]) -> tuple[Piece, ...]:
    pieces = []
    for number in range(first[0], min(last[0] + 1, len(sources))):
        begin = first[1] if number == first[0] else 0
        end = last[1] if number == last[0] else extent(sources[number])
        if begin < end:
            share = sources[number].bytes * (end - begin) // extent(sources[number])
            pieces.append(Piece(sources[number], begin, end, share))
    return tuple(pieces)


def extent(source: SourceFile) -> int:
    """The end of the last piece of a file, in the units of `Piece`."""
    if source.compression or source.format == "json":
        return 1 if source.bytes else 0
    return row_groups(source) if source.format == "parquet" else source.bytes


def _align(source: SourceFile, position: int, blank_line: bool, previous: tuple[int, int], number: int) -> int:
    """Move a byte position inside a file to where a document begins, in the units of `Piece`."""
    if position == 0:
        return 0
    if source.compression or source.format == "json":
        return 1
    if source.format == "parquet":
        return -(-position * row_groups(source) // source.bytes)
    if previous[0] == number and previous[1] >= position:
        return previous[1]  # the last cut already looked past this position and found no bound before
    with open(source.path, "rb") as file:
        file.seek(position - 1)
        _read_line(file)
        while blank_line and _read_line(file).strip():
            pass
        return file.tell()


def _read_line(file: IO[bytes]) -> bytes:
    """The next line, or of a very long one its last part; empty at the end of the file."""
    line = file.readline(READLINE_BYTES)
    while len(line) == READLINE_BYTES and not line.endswith(b"\n"):
        line = file.readline(READLINE_BYTES) or b"\n"
    return line
