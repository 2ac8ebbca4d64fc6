"""How a block of text lines becomes items and documents, vectorised over the lines.

    line        every line is a document of one item; lines without a token are left out and counted.
    blank_line  every line is an item (a sentence); a line of nothing but white space ends the document.
    split       every line is a document, cut into sentences, one item each.

A rule sees whole lines and no file. It drops text without tokens, never anything else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from uer_ds.data.sentences import split_lines
from uer_ds.data.words import WordFinder
from uer_ds.tokenizers.base import InvalidUtf8, Tokenizer

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
        empty: documents (blank_line: lines other than blank ones) that gave no token.
        labels: [documents] int32, in layouts that have them.
        word_starts: [tokens] bool, where words are wanted.
    """

    ids: np.ndarray
    offsets: np.ndarray
    document_ends: np.ndarray
    empty: int
    labels: np.ndarray | None = None
    word_starts: np.ndarray | None = None


def encode_documents(text: bytes, tokenizer: Tokenizer, words: WordFinder | None = None) -> Encoded:
    """Rule `line`."""
    encoded, keep, _ = _encode_lines(text, tokenizer, words)
    return replace(encoded, document_ends=np.arange(1, len(encoded.offsets)), empty=int(len(keep) - keep.sum()))


def encode_sentences(text: bytes, tokenizer: Tokenizer, words: WordFinder | None = None) -> Encoded:
    """Rule `blank_line`. The document that is open at the end of the block goes on in the next one."""
    encoded, keep, blank = _encode_lines(text, tokenizer, words)
    items_before = np.cumsum(keep) - keep  # [lines] items before each line
    return replace(encoded, document_ends=items_before[blank], empty=int(len(keep) - keep.sum() - blank.sum()))


def encode_split(text: bytes, tokenizer: Tokenizer, words: WordFinder | None = None) -> Encoded:
    """Rule `split`."""
    try:
        sentences = split_lines(text)
    except UnicodeDecodeError as error:
        raise InvalidUtf8(error.start) from None
    encoded = encode_sentences(sentences, tokenizer, words)
    documents = np.count_nonzero(np.diff(encoded.document_ends, prepend=0))
    return replace(encoded, empty=text.count(b"\n") - int(documents))


LINE_RULES: dict[str, Callable[[bytes, Tokenizer, WordFinder | None], Encoded]] = {
    "line": encode_documents,
    "blank_line": encode_sentences,
    "split": encode_split,
}


def _encode_lines(
    text: bytes, tokenizer: Tokenizer, words: WordFinder | None
) -> tuple[Encoded, np.ndarray, np.ndarray]:
    """The lines that have tokens as items (no documents yet), and for every line: is it kept, is it blank."""
    blank = blank_lines(text)
    ids, offsets = tokenizer.encode_lines(np.frombuffer(text, np.uint8))
    assert len(offsets) == len(blank) + 1
    sizes = np.diff(offsets)
    keep = (sizes > 0) & ~blank
    if (sizes[blank] > 0).any():  # a tokenizer may have a token for "nothing"
        ids = ids[np.repeat(keep, sizes)]
    offsets = np.zeros(int(keep.sum()) + 1, np.int64)
    np.cumsum(sizes[keep], out=offsets[1:])
    word_starts = None
    if words is not None:
        lines = text.decode("utf-8").split("\n")
        word_starts = words.starts([lines[number] for number in np.flatnonzero(keep)], ids, offsets)
    return Encoded(ids, offsets, np.empty(0, np.int64), 0, word_starts=word_starts), keep, blank


def blank_lines(text: bytes) -> np.ndarray:
    """[lines] bool: which lines of `text` (ending with a newline) are nothing but white space."""
    array = np.frombuffer(text, np.uint8)
    ends = np.flatnonzero(array == ord("\n"))
    starts = np.concatenate([[0], ends[:-1] + 1])
    blank = ends == starts
    doubtful = np.flatnonzero(_MAY_BE_BLANK[array[starts]] & ~blank)
    for line, start, end in zip(doubtful.tolist(), starts[doubtful].tolist(), ends[doubtful].tolist(), strict=True):
        blank[line] = not text[start:end].decode(errors="replace").strip()
    return blank
