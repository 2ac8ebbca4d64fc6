"""Build a vocabulary from a corpus: reserved entries, then what the corpus has, most frequent first.

Ties keep the order of first appearance, as in UER-py, whatever the number of workers; unlike there, no line is lost at
the ends of ranges. Workers take byte ranges cut at line ends, so memory depends on `BLOCK_BYTES` and the vocabulary
only.
"""

from __future__ import annotations

import codecs
import functools
import multiprocessing
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from uer_ds.errors import UserError, unknown_name
from uer_ds.tokenizers.base import CONVERT_HINT, InvalidUtf8
from uer_ds.tokenizers.vocabulary import RESERVED, line_token

BLOCK_BYTES = 32 << 20

Counts = dict[str, int]
"""Token -> how often, in the order of first appearance."""

Block = tuple[Path, int, int]
"""A file and the byte range in which lines begin."""


def build_vocabulary(
    paths: Iterable[str | Path],
    delimiter: str = "char",
    min_count: int = 1,
    reserved: Sequence[str] = RESERVED,
    workers: int = 1,
    do_lower_case: bool = True,
    sentinels: int = 0,
) -> list[str]:
    """The tokens of a new vocabulary.

    Args:
        paths: UTF-8 text files.
        delimiter: "char": every character of a line is a token; "space": tokens stand between single spaces; "bert":
            ideographs and punctuation marks, and for every other word its first character and `##` with each further
            one, so that the bert tokenizer over the result leaves no word of this text unknown.
        min_count: rarer tokens are left out.
        reserved: entries that come first, whatever the text.
        workers: processes.
        do_lower_case: "bert" only: as in the bert tokenizer.
        sentinels: how many `<extra_id_N>` come last, where the t5 objective expects them.
    """
    if delimiter not in COUNTERS:
        raise unknown_name("delimiter", delimiter, COUNTERS, "--delimiter")
    if min_count < 1 or workers < 1:
        raise UserError(f"--min_count {min_count}, --workers_num {workers}: expected numbers of at least 1.")
    kernels = []
    if delimiter == "bert":
        import uer_ds.tokenizers.characters  # compiles once here and not in every worker

        kernels = [uer_ds.tokenizers.characters.__name__]
    count = functools.partial(count_block, delimiter=delimiter, do_lower_case=do_lower_case)
    total = merge_counts(_map(count, list(corpus_blocks(paths)), workers, kernels))
    frequent = sorted((token for token, n in total.items() if n >= min_count), key=lambda token: -total[token])
    last = [f"<extra_id_{number}>" for number in range(sentinels)]
    taken = {*reserved, *last}
    return [*reserved, *(token for token in frequent if token not in taken and _can_be_a_line(token)), *last]


def corpus_blocks(paths: Iterable[str | Path]) -> Iterator[Block]:
    """Byte ranges that together cover all files."""
    for path in map(Path, paths):
        try:
            with path.open("rb"):
                size = path.stat().st_size
        except OSError as error:
            raise UserError(f"{path}: cannot read this corpus ({error.strerror}); check the path.") from error
        for begin in range(0, size, BLOCK_BYTES):
            yield path, begin, min(begin + BLOCK_BYTES, size)


def read_block(block: Block) -> tuple[bytes, int]:
    """The lines that begin inside the range, and the position of the first of them."""
    path, begin, end = block
    with path.open("rb") as file:
        if begin > 0:
            file.seek(begin - 1)
            file.readline()
        first = file.tell()
        content = file.read(max(end - first, 0))
        if content and not content.endswith(b"\n"):
            content += file.readline()
        return content, first


def count_block(block: Block, delimiter: str, do_lower_case: bool) -> Counts:
    """How often each token occurs in one block of a file."""
    content, first = read_block(block)
    bom = len(codecs.BOM_UTF8) if first == 0 and content.startswith(codecs.BOM_UTF8) else 0
    try:
        return COUNTERS[delimiter](content[bom:], do_lower_case)
    except InvalidUtf8 as error:
        bad = bom + error.byte_offset
        raise UserError(
            f"{block[0]} is not UTF-8: byte {first + bad} is 0x{content[bad]:02x}; {CONVERT_HINT}."
        ) from error


def merge_counts(parts: Iterable[Counts]) -> Counts:
    """The sum, in the order of first appearance over all parts."""
    total: Counts = {}
    for part in parts:
        for token, count in part.items():
            total[token] = total.get(token, 0) + count
    return total


def _count_characters(content: bytes, do_lower_case: bool) -> Counts:
    text = "".join([line.strip() for line in _decode(content).split("\n")])
    codes, counts = _distinct(np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32))
    return {chr(code): count for code, count in zip(codes, counts, strict=True)}


def _count_fields(content: bytes, do_lower_case: bool) -> Counts:
    counts: Counter[str] = Counter()
    for line in _decode(content).split("\n"):
        counts.update(line.strip().split(" "))
    del counts[""]  # of empty lines and double spaces
    return counts


def _count_pieces(content: bytes, do_lower_case: bool) -> Counts:
    from uer_ds.tokenizers.characters import CODE_POINTS, character_table
    from uer_ds.tokenizers.kernels import CODE_MASK, LINE_END, START

    stream = character_table(do_lower_case).split(np.frombuffer(content, dtype=np.uint8))
    stream = stream[stream != LINE_END]
    continues = stream & START == 0
    codes, counts = _distinct((stream & CODE_MASK) + continues * CODE_POINTS)
    pieces = (chr(code) if code < CODE_POINTS else f"##{chr(code - CODE_POINTS)}" for code in codes)
    return dict(zip(pieces, counts, strict=True))


COUNTERS: dict[str, Callable[[bytes, bool], Counts]] = {
    "char": _count_characters,
    "space": _count_fields,
    "bert": _count_pieces,
}


def _distinct(codes: NDArray[np.integer]) -> tuple[list[int], list[int]]:
    """The distinct codes in the order of their first appearance, and how often each occurs."""
    counts = np.bincount(codes)
    first = np.zeros(len(counts), dtype=np.int64)
    first[codes[::-1]] = np.arange(len(codes))[::-1]  # of equal codes the last assignment stays: the earliest position
    present = np.flatnonzero(counts)
    present = present[np.argsort(first[present])]
    return present.tolist(), counts[present].tolist()


def _decode(content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidUtf8(error.start) from error


def _can_be_a_line(token: str) -> bool:
    """Whether a vocabulary file can hold the token (not so with whitespace inside)."""
    return "\n" not in token and line_token(token) == token


def _map(
    count: Callable[[Block], Counts], blocks: list[Block], workers: int, preload: Sequence[str] = ()
) -> Iterator[Counts]:
    if workers == 1 or len(blocks) < 2:
        yield from map(count, blocks)
        return
    context = multiprocessing.get_context("forkserver")  # its server loads what all workers need, once
    context.set_forkserver_preload([__name__, *preload])
    try:
        with ProcessPoolExecutor(min(workers, len(blocks)), mp_context=context) as pool:
            yield from pool.map(count, blocks)
    except BrokenProcessPool as error:
        raise UserError(
            "--workers_num: a worker was killed, most likely for lack of memory; use fewer workers."
        ) from error
