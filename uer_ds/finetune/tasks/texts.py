"""The reader that most tasks share: one row of a table is one example of a text, or of two.

Columns: label (where answers are wanted), text_a, optional text_b, and more by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from uer_ds.finetune.encode import Encoded, Encoder, in_blocks
from uer_ds.finetune.examples import Example
from uer_ds.finetune.rows import Row, columns_of, read_rows
from uer_ds.finetune.task import Reading

EncodeRows = Callable[[Encoder, Sequence[Row], bool], Iterable[tuple[Encoded, ...]]]
"""(encoder, rows, whether text_b is there) -> the rows of ids of each example."""


@dataclass(frozen=True)
class Gold:
    """The right answer as the file spells it, other columns that were asked for, and the place for error messages."""

    label: str
    where: str
    more: dict[str, str] = field(default_factory=dict)


def one_row(encoder: Encoder, rows: Sequence[Row], pairs: bool) -> list[tuple[Encoded, ...]]:
    """Text or pair in one row of ids."""
    firsts = encoder.ids([row.text("text_a") for row in rows])
    if not pairs:
        return [(encoder.single(first),) for first in firsts]
    seconds = encoder.ids([row.text("text_b") for row in rows])
    return [(encoder.pair(first, second),) for first, second in zip(firsts, seconds, strict=True)]


def read_texts(
    path: Path,
    reading: Reading,
    encode_rows: EncodeRows = one_row,
    columns: Sequence[str] = ("text_a",),
    gold_columns: Sequence[str] = (),
    separator: str = " ",
) -> Iterator[Example]:
    """One example a row; `columns` are always needed, `label` and `gold_columns` where answers are wanted.

    `separator` stands between the items of a label that is a list.
    """
    wanted = ["label", *gold_columns] if reading.gold else []
    pairs = "text_b" in columns_of(path)

    def examples(rows: list[Row]) -> Iterable[Example]:
        for row, encoded in zip(rows, encode_rows(reading.encoder, rows, pairs), strict=True):
            more = {column: row.text(column) for column in gold_columns}
            gold = Gold(row.text("label", separator).strip(), f"{path}: line {row.number}", more)
            yield Example(encoded, gold if reading.gold else None)

    return in_blocks(wanted_rows(read_rows(path, [*wanted, *columns]), reading), examples)


def wanted_rows(rows: Iterable[Row], reading: Reading) -> Iterator[Row]:
    """Without the empty rows, which are counted; all of them where every row is to be answered."""
    for row in rows:
        if row.empty and not reading.every_row:
            reading.noticed["empty rows were left out"] += 1
        else:
            yield row


def read(path: Path, reading: Reading) -> Iterator[Example]:
    """Texts and pairs with their labels."""
    return read_texts(path, reading)
