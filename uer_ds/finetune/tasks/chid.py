"""Idioms for blanks. JSON lines as those of ChID (Zheng et al. 2019): candidates, and texts with tags #idiomNNNNNN#.

Every candidate is a row: [CLS] idiom [SEP] text before the blank [SEP] text behind it [SEP]; other blanks are [MASK].
All of it is segment 1 (UER-py gives it the segment of padding). Predictions use a candidate once for each line of the
file. Chosen by accuracy.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from uer_ds.errors import UserError
from uer_ds.finetune.encode import Encoded, Encoder, Ids
from uer_ds.finetune.examples import Example
from uer_ds.finetune.rows import Row, read_rows
from uer_ds.finetune.task import Classes, Output, Pair, Reading, Scores, Wanted
from uer_ds.finetune.tasks import c3
from uer_ds.finetune.tasks.cmrc import character_ids
from uer_ds.storage.files import read_json_object

TAG = re.compile(r"#idiom\d{6}#")


@dataclass(frozen=True)
class Blank:
    """One blank: its tag, its line in the file, how many candidates there are."""

    tag: str
    line: int
    candidates: int


def read(path: Path, reading: Reading) -> Iterator[Example]:
    """One example a blank."""
    answers = read_json_object(answer_path(reading)) if reading.gold else {}
    for row in read_rows(path, ("candidates", "content"), ".jsonl"):
        candidates, content = (_texts(row, column, path) for column in ("candidates", "content"))
        if len(candidates) > reading.options.max_choices_num:
            raise UserError(
                f"{path}: line {row.number} has {len(candidates)} candidates, but --max_choices_num is "
                f"{reading.options.max_choices_num}; raise it."
            )
        for text in content:
            for tag in TAG.finditer(text):
                if reading.gold and answers.get(tag.group()) not in range(len(candidates)):
                    raise UserError(
                        f"{answer_path(reading)}: the answer for {tag.group()} of {path} is "
                        f"{answers.get(tag.group())}; expected the number of one of its {len(candidates)} candidates."
                    )
                rows = blank_rows(reading, candidates, text, tag)
                source = Blank(tag.group(), row.number, len(candidates))
                yield Example(rows, answers.get(tag.group()), source)


def _texts(row: Row, column: str, path: Path) -> list[str]:
    found = row.values[column]
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise UserError(f"{path}: {column} in line {row.number} is {str(found)[:40]}; expected a list of texts.")
    return found


def answer_path(reading: Reading) -> str:
    """The file of right answers that belongs to the data being read."""
    option = f"{reading.part}_answer_path"
    found: str | None = getattr(reading.options, option)
    if found is None:
        raise UserError(f"--{option} is missing; name the JSON file, tag -> number of the right candidate.")
    return found


def blank_rows(reading: Reading, candidates: Sequence[str], text: str, tag: re.Match[str]) -> tuple[Encoded, ...]:
    """A row for each candidate, and rows of one token for those that are missing."""
    encoder = reading.encoder
    before, behind = (_ids_with_masks(encoder, part) for part in (text[: tag.start()], text[tag.end() :]))
    before, behind = around(before, behind, encoder.seq_length - 4)
    cls, sep = encoder.special("cls"), encoder.special("sep")
    rows = [
        encoder.row([cls], character_ids(encoder, idiom), [sep], before, [sep], behind, [sep]) for idiom in candidates
    ]
    missing = reading.options.max_choices_num - len(candidates)
    return (*rows, *[encoder.row([cls])] * missing)


def _ids_with_masks(encoder: Encoder, text: str) -> Ids:
    parts = [character_ids(encoder, part) for part in TAG.split(text)]
    mask = np.array([encoder.special("mask")], dtype=np.int32)
    joined = [parts[0]]
    for part in parts[1:]:
        joined += [mask, part]
    return np.concatenate(joined)


def around(before: Ids, behind: Ids, size: int) -> tuple[Ids, Ids]:
    """`size` tokens around the blank, half on either side, more where the other side is short."""
    left = min(len(before), max(size // 2, size - len(behind)))
    return before[len(before) - left :], behind[: size - left]


def score(examples: Sequence[Example], outputs: Sequence[Output], labels: Classes, options: Any) -> Scores:
    """Each blank for itself, as a classification by the number of the candidate."""
    as_c3 = [replace(e, source=(e.source.tag, e.source.candidates)) for e in examples]
    return c3.score(as_c3, outputs, labels, options)


def records(pairs: Iterable[Pair], labels: Classes, wanted: Wanted) -> Iterator[tuple[Any, ...]]:
    """Tag and number of the candidate; within a line of the file, the surest pairs first, each candidate once."""
    for _, rows in groupby(pairs, key=lambda pair: pair[0].source.line):
        group = list(rows)
        chosen = assign([output[: example.source.candidates] for example, output in group])
        yield from ((example.source.tag, number) for (example, _), number in zip(group, chosen, strict=True))


def assign(scores: Sequence[Output]) -> list[int]:
    """Blank -> candidate, by falling score, each candidate once; more blanks than candidates take their best."""
    order = sorted(((float(s), blank, c) for blank, row in enumerate(scores) for c, s in enumerate(row)), reverse=True)
    found: dict[int, int] = {}
    for _, blank, candidate in order:
        if blank not in found and candidate not in found.values():
            found[blank] = candidate
    return [found.get(blank, int(row.argmax())) for blank, row in enumerate(scores)]


TASK = replace(
    c3.TASK,
    name="chid",
    summary="choose idioms for blanks",
    read=read,
    score=score,
    columns=lambda wanted: ("tag", "candidate"),
    records=records,
    document=dict,
    json_lines=False,
    tokenizer="char",
)
