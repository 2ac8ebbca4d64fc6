"""A file that is one JSON list of objects (the usual form of instruction data), object by object.

The file is read from its start to its end in blocks, so memory depends on the longest object only. It cannot be entered
in the middle: a list is one piece of work, like a compressed file.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from uer_ds.data.corpus import MAX_LINE_BYTES, Block, SourceFile, line_numbers, not_utf8
from uer_ds.data.unpack import unpack
from uer_ds.errors import UserError

SPACE = " \t\r\n\ufeff"
"""What may stand between elements; the last one is a byte order mark."""


@dataclass(frozen=True)
class Element:
    """One element of the list, and the byte of the (uncompressed) file at which it begins."""

    value: Any
    offset: int


def read_list(source: SourceFile, advance: Callable[[int], None]) -> Iterator[list[Element]]:
    """The elements, those of a block of the file at a time; `advance` is told the bytes read from the file.

    Raises `UserError`, naming byte and line, for bytes that are no UTF-8 and for text that is no JSON list.
    """
    parser = _Parser(source)
    for text in _decoded(source, advance):
        yield parser.feed(text)
    parser.close()


class _Parser:
    """Takes text in pieces and gives whole elements."""

    def __init__(self, source: SourceFile):
        self._source = source
        self._text, self._offset = "", 0  # what is not used up yet, and where in the file it begins
        self._state = "before"  # before the list, "first" element, at an "element" or a "comma", "after" the list
        self._decode = json.JSONDecoder().raw_decode

    def feed(self, text: str) -> list[Element]:
        """The elements that end in this text."""
        self._text += text
        elements: list[Element] = []
        used = offset = 0  # characters and bytes of self._text
        while (begin := self._skip_space(used)) < len(self._text):
            offset += len(self._text[used:begin].encode())
            used = begin
            if self._state in ("first", "element") and not (self._state == "first" and self._text[used] == "]"):
                try:
                    value, end = self._decode(self._text, used)
                except json.JSONDecodeError as error:
                    self._check_room(used, error)
                    break
                elements.append(Element(value, self._offset + offset))
                self._state = "comma"
            else:
                end = used + 1
                self._state = self._next_state(self._text[used], self._offset + offset)
            offset += len(self._text[used:end].encode())
            used = end
        self._text, self._offset = self._text[used:], self._offset + offset
        return elements

    def close(self) -> None:
        """The file has ended."""
        if self._state != "after":
            what = "an element" if self._text.strip() else "a comma or ]"
            raise self._mistake(f"the list ends in the middle, expected {what}", self._offset)

    def _skip_space(self, position: int) -> int:
        while position < len(self._text) and self._text[position] in SPACE:
            position += 1
        return position

    def _next_state(self, character: str, offset: int) -> str:
        follows = {"before": {"[": "first"}, "first": {"]": "after"}, "comma": {",": "element", "]": "after"}}
        states = follows.get(self._state, {})
        if character not in states:
            expected = " or ".join(states) or "nothing more"
            raise self._mistake(f"found {character!r}, expected {expected}", offset)
        return states[character]

    def _check_room(self, begin: int, error: json.JSONDecodeError) -> None:
        """An element that does not end in the text at hand may go on in the next block, but not for ever."""
        if len(self._text) - begin > MAX_LINE_BYTES:
            offset = self._offset + len(self._text[: error.pos].encode())
            raise self._mistake(f"an element of more than {MAX_LINE_BYTES >> 20} MiB, or {error.msg}", offset)

    def _mistake(self, what: str, offset: int) -> UserError:
        line = (line_numbers(self._source, [offset]) or line_numbers(self._source, [offset - 1]) or [1])[0]
        return UserError(
            f"{self._source.path} is no JSON list of objects: {what} at byte {offset} (line {line}); mend the file, or"
            " write one object a line and name it .jsonl."
        )


def _decoded(source: SourceFile, advance: Callable[[int], None]) -> Iterator[str]:
    """The text of the file in parts."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    offset = 0
    for data in unpack(source.path, source.compression, advance):
        waiting = decoder.getstate()[0]
        try:
            text = decoder.decode(data)
        except UnicodeDecodeError:
            raise not_utf8(source, Block(b"", waiting + data, offset - len(waiting))) from None
        offset += len(data)
        yield text
    if waiting := decoder.getstate()[0]:
        raise not_utf8(source, Block(b"", waiting, offset - len(waiting)))
