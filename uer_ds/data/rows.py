"""Lines and records of several texts -> items: parallel text, labelled text, and every document of a JSON or Parquet
file.

A `Row` is one document: its texts, and a label where there is one. Parsers turn a line or a record into a row, or raise
`Malformed`; `encode_rows` turns rows into token ids. Plain documents in `.txt` do not come here (see `rules`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from uer_ds.data.rules import Encoded
from uer_ds.data.sentences import split_sentences
from uer_ds.data.words import WordFinder
from uer_ds.tokenizers.base import Tokenizer

_LABEL = re.compile(r"\d{1,9}")


class Malformed(ValueError):
    """A line or record that is not of the expected form; the message says how."""


@dataclass(frozen=True)
class Row:
    """One document: its texts in order, and its label (0 in layouts without labels)."""

    texts: tuple[str, ...]
    label: int = 0


@dataclass(frozen=True)
class Tokenizers:
    """The tokenizer of all texts; `target`: that of the second text of a pair, when it is another one."""

    source: Tokenizer
    target: Tokenizer | None = None

    def __iter__(self) -> Iterator[Tokenizer]:
        yield self.source
        if self.target is not None:
            yield self.target


def parse_pair_line(line: str) -> Row:
    """source TAB target"""
    return Row(tuple(_split(line, {2: ("source", "target")})))


def parse_labelled_line(line: str) -> Row:
    """label TAB text, or label TAB text_a TAB text_b"""
    columns = _split(line, {2: ("label", "text"), 3: ("label", "text", "second text")})
    return Row(tuple(columns[1:]), _label(columns[0]))


def parse_document(record: Mapping[str, Any]) -> Row:
    """text"""
    return Row((_text(record, "text"),))


def parse_sentences(record: Mapping[str, Any]) -> Row:
    """text, split into sentences"""
    return Row(tuple(split_sentences(_text(record, "text"))))


def parse_pair(record: Mapping[str, Any]) -> Row:
    """source and target, or instruction, input and output (the prompt is instruction and input)"""
    if "source" in record:
        return Row((_text(record, "source"), _text(record, "target")))
    prompt = _text(record, "instruction") + (_text(record, "input") if record.get("input") else "")
    return Row((_line_feeds(prompt), _line_feeds(_text(record, "output"))))


def parse_labelled(record: Mapping[str, Any]) -> Row:
    """label and text (or text_a), perhaps text_b"""
    first = _text(record, "text_a" if "text_a" in record else "text")
    second = (_text(record, "text_b"),) if record.get("text_b") is not None else ()
    return Row((first, *second), _label(str(record.get("label", "nothing"))))


LINE_PARSERS: dict[str, Callable[[str], Row]] = {"pair": parse_pair_line, "label": parse_labelled_line}
RECORD_PARSERS: dict[str, Callable[[Mapping[str, Any]], Row]] = {
    "line": parse_document,
    "blank_line": parse_sentences,
    "split": parse_sentences,
    "pair": parse_pair,
    "label": parse_labelled,
}
RECORD_FIELDS = ("text", "source", "target", "instruction", "input", "output", "label", "text_a", "text_b")


def encode_rows(rows: Sequence[Row], tokenizers: Tokenizers, rule: str, words: WordFinder | None = None) -> Encoded:
    """The items of `rows`.

    A row whose text (of a pair: either text) gives no token is left out and counted; a sentence without tokens only
    makes its document shorter.
    """
    ids, offsets = _encode_texts(rows, tokenizers)
    owner = np.repeat(np.arange(len(rows)), [len(row.texts) for row in rows])  # [items] the row of each text
    sizes = np.diff(offsets)
    kept_items = sizes > 0
    kept_rows = np.bincount(owner[kept_items], minlength=len(rows)) > 0
    if rule in ("line", "pair", "label"):
        kept_rows &= np.bincount(owner[~kept_items], minlength=len(rows)) == 0
    kept_items &= kept_rows[owner]
    ids = ids[np.repeat(kept_items, sizes)]
    offsets = np.concatenate([[0], np.cumsum(sizes[kept_items])])
    texts = [text for row in rows for text in row.texts]
    return Encoded(
        ids=ids,
        offsets=offsets,
        document_ends=np.cumsum(np.bincount(owner[kept_items], minlength=len(rows)))[kept_rows],
        empty=int(len(rows) - kept_rows.sum()),
        labels=np.array([row.label for row in rows], np.int32)[kept_rows] if rule == "label" else None,
        word_starts=words.starts([texts[i] for i in np.flatnonzero(kept_items)], ids, offsets) if words else None,
    )


def _encode_texts(rows: Sequence[Row], tokenizers: Tokenizers) -> tuple[np.ndarray, np.ndarray]:
    """Ids and offsets of all texts of all rows, in order."""
    if tokenizers.target is None:
        return tokenizers.source.encode_batch([text for row in rows for text in row.texts])
    sources, source_offsets = tokenizers.source.encode_batch([row.texts[0] for row in rows])
    targets, target_offsets = tokenizers.target.encode_batch([row.texts[1] for row in rows])
    sizes = np.stack([np.diff(source_offsets), np.diff(target_offsets)], 1).reshape(-1)  # [2 x rows] in turn
    is_source = np.repeat(np.arange(len(sizes)) % 2 == 0, sizes)  # [tokens]
    ids = np.empty(len(is_source), np.int32)
    ids[is_source] = sources
    ids[~is_source] = targets
    return ids, np.concatenate([[0], np.cumsum(sizes)])


def _text(record: Mapping[str, Any], key: str) -> str:
    value = record.get(key)
    if not isinstance(value, str):
        known = ", ".join(map(str, list(record)[:8]))
        raise Malformed(f"no text under {key!r} (it has: {known})")
    return value


def _split(line: str, forms: Mapping[int, Sequence[str]]) -> list[str]:
    """The columns of a line, none of them empty; `forms`: their number -> their names."""
    columns = line.strip("\r\n").split("\t")
    if len(columns) not in forms:
        wanted, names = " or ".join(map(str, forms)), ", ".join(forms[max(forms)])
        found = f"{len(columns)} tab-separated column{'s' if len(columns) > 1 else ''}"
        raise Malformed(f"{found}, expected {wanted} ({names})")
    for column, name in zip(columns, forms[len(columns)], strict=True):
        if not column or column.isspace():
            raise Malformed(f"the {name} is empty")
    return columns


def _label(value: str) -> int:
    if not _LABEL.fullmatch(value.strip()):
        raise Malformed(f"label {value.strip()[:20]!r}, expected an integer from 0")
    return int(value)


def _line_feeds(text: str) -> str:
    """Instruction files often spell a line feed as backslash and n."""
    return text.replace("\\n", "\n")
