"""Lines of a file of any size as rows of tokens for a model, and answers in the order of the lines.

Lines are read some thousands at a time and put together by length, so padding costs little and memory does not grow
with the file. S tokens of a row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from uer_ds.tokenizers import Tokenizer

CHUNK = 4096
"""Lines in memory at a time."""

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Row:
    """A line, its number from 0, and its tokens, [CLS] first and [SEP] last.

    `was_cut`: it had more than a row may have.
    """

    number: int
    text: str
    ids: list[int]
    was_cut: bool


def rows_of(lines: Sequence[str], tokenizer: Tokenizer, seq_length: int, blanks: bool, first: int) -> list[Row]:
    """[CLS] line [SEP] for each, of at most `seq_length` tokens; the first line has the number `first`.

    `blanks`: where a line says [MASK], as the vocabulary spells it, there is that token.
    """
    tokenizer.require("cls", "sep", *(["mask"] if blanks else []))
    special, spelt = tokenizer.special, tokenizer.special_tokens.mask
    pieces = [line.split(spelt) if blanks and spelt else [line] for line in lines]
    ids, offsets = tokenizer.encode_batch([piece for line in pieces for piece in line])
    found, at = [], 0
    for number, (line, parts) in enumerate(zip(lines, pieces, strict=True), start=first):
        tokens: list[int] = []
        for place in range(at, at + len(parts)):
            tokens += [int(special.mask or 0)] if place > at else []
            tokens += ids[offsets[place] : offsets[place + 1]].tolist()
        at += len(parts)
        kept = tokens[: seq_length - 2]
        row = [int(special.cls or 0), *kept, int(special.sep or 0)]
        found.append(Row(number, line, row, len(kept) < len(tokens)))
    return found


def answered(
    lines: Iterable[str],
    tokenizer: Tokenizer,
    seq_length: int,
    batch_size: int,
    answer: Callable[[list[Row]], list[Answer]],
    blanks: bool = False,
) -> Iterator[tuple[Row, Answer]]:
    """(row, answer) for every line, in order; `answer` gets at most `batch_size` rows of like length.

    `blanks`: see `rows_of`.
    """
    source, first = iter(lines), 0
    while chunk := list(islice(source, CHUNK)):
        rows = rows_of(chunk, tokenizer, seq_length, blanks, first)
        first += len(rows)
        order = sorted(range(len(rows)), key=lambda number: -len(rows[number].ids))
        found: dict[int, Answer] = {}
        for start in range(0, len(order), batch_size):
            numbers = order[start : start + batch_size]
            found |= dict(zip(numbers, answer([rows[number] for number in numbers]), strict=True))
        yield from ((row, found[number]) for number, row in enumerate(rows))
