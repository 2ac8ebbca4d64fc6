"""How a block of text becomes items and documents: one function a document rule, all vectorised over the lines of the
block.

    line        every line is a document of one item; lines without a token are left out and counted.
    blank_line  every line is an item (a sentence); a line of nothing but white space ends the document.

A rule sees whole lines and no file. It drops text without tokens, never anything else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

# First bytes of a line that may be all white space: ASCII blanks and controls, and what begins U+0085, U+00A0, U+1680,
# U+2000-2029, U+3000. Only such lines are looked at one by one.
_MAY_BE_BLANK = np.zeros(256, bool)
_MAY_BE_BLANK[:33] = True
_MAY_BE_BLANK[[0xC2, 0xE1, 0xE2, 0xE3]] = True


@dataclass(frozen=True)
class Encoded:
    """The items of a block.

    Attributes:
        ids: [tokens] int32, all items in a row.
        offsets: [items + 1] int64, item bounds in `ids`.
        document_ends: [ends] int64, ascending: a document ends before these items of the block.
        empty: lines (blank_line: other than blank ones) that gave no token.
    """

    ids: np.ndarray
    offsets: np.ndarray
    document_ends: np.ndarray
    empty: int


def encode_documents(text: bytes, tokenizer: Any) -> Encoded:
    """Rule `line`."""
    ids, offsets, keep, _ = _encode_lines(text, tokenizer)
    return Encoded(ids, offsets, np.arange(1, len(offsets)), int(len(keep) - keep.sum()))


def encode_sentences(text: bytes, tokenizer: Any) -> Encoded:
    """Rule `blank_line`. The document that is open at the end of the block goes on in the next one."""
    ids, offsets, keep, blank = _encode_lines(text, tokenizer)
    items_before = np.cumsum(keep) - keep  # [lines] items before each line
    return Encoded(ids, offsets, items_before[blank], int(len(keep) - keep.sum() - blank.sum()))


def _encode_lines(text: bytes, tokenizer: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Ids and item bounds of the lines that have tokens, and for every line: is it kept, is it blank."""
    array = np.frombuffer(text, np.uint8)
    blank = blank_lines(array)
    ids, offsets = tokenizer.encode_lines(array)
    assert len(offsets) == len(blank) + 1
    sizes = np.diff(offsets)
    keep = (sizes > 0) & ~blank
    if (sizes[blank] > 0).any():  # a tokenizer may have a token for "nothing"
        ids = ids[np.repeat(keep, sizes)]
    kept_offsets = np.zeros(int(keep.sum()) + 1, np.int64)
    np.cumsum(sizes[keep], out=kept_offsets[1:])
    return ids, kept_offsets, keep, blank


def blank_lines(text: np.ndarray) -> np.ndarray:
    """[lines] bool: which lines of `text` (uint8, ending with a newline) are nothing but white space."""
    ends = np.flatnonzero(text == ord("\n"))
    starts = np.concatenate([[0], ends[:-1] + 1])
    blank = ends == starts
    for line in np.flatnonzero(_MAY_BE_BLANK[text[starts]] & ~blank):
        blank[line] = not text[starts[line] : ends[line]].tobytes().decode(errors="replace").strip()
    return blank
