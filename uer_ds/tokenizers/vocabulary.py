"""Vocabulary files: one token a line, the line number is the id.

Read as UER-py reads them: lines end at `\\n` only (U+2028 is a token of the Google Chinese vocabularies), a token is
the first whitespace-separated field of its line, and a line of nothing but whitespace stands for itself, so a blank
line is the empty token and keeps its id. Writing is atomic.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from uer_ds.errors import UserError
from uer_ds.storage.files import write_file

logger = logging.getLogger(__name__)

RESERVED = ("[PAD]", *(f"[unused{i}]" for i in range(1, 100)), "[UNK]", "[CLS]", "[SEP]", "[MASK]")
"""The 104 entries that begin every Chinese vocabulary: padding 0, unknown 100, then 101, 102, 103."""


@dataclass(frozen=True)
class Vocabulary:
    """Tokens by id.

    Attributes:
        tokens: id -> token.
        source: the file it came from, for messages.
        ids: token -> id. Where a token stands on several lines the last line counts, as in UER-py; the size of the
            vocabulary is the number of lines, so that every id has a row in the embedding.
    """

    tokens: list[str]
    source: str = "vocabulary"
    ids: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "ids", {token: index for index, token in enumerate(self.tokens)})

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def duplicates(self) -> int:
        """How many lines repeat a token of another line."""
        return len(self.tokens) - len(self.ids)

    @classmethod
    def read(cls, path: str | Path) -> Vocabulary:
        """Read a vocabulary file; says on the log how many lines are duplicates."""
        lines = read_text(path, "vocabulary").split("\n")
        if lines[-1] == "":  # a final newline ends the last line, it does not begin another one
            lines.pop()
        vocabulary = cls([line_token(line) for line in lines], str(path))
        if vocabulary.duplicates:
            logger.warning(
                "%s: %d of %d lines repeat a token; the last line of a token gives its id.",
                path,
                vocabulary.duplicates,
                len(vocabulary),
            )
        return vocabulary


def line_token(line: str) -> str:
    """The token on one line (without its `\\n`)."""
    fields = line.split(maxsplit=1)
    return fields[0] if fields else line.strip("\r\n")


def vocabulary_text(tokens: Iterable[str]) -> str:
    """The content of a vocabulary file with these tokens."""
    return "".join(f"{token}\n" for token in tokens)


def write_vocabulary(tokens: Iterable[str], path: str | Path) -> None:
    """Write one token a line; the file appears under its name only when it is complete."""
    write_file(path, vocabulary_text(tokens))


def read_bytes(path: str | Path, what: str) -> bytes:
    """The content of a file that the user named; `what` it should be is said when it is missing or empty."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot read this {what} file ({error.strerror}); check the path.") from error
    if not content:
        raise UserError(f"{path}: this {what} file is empty (0 bytes); give a complete file.")
    return content


def read_text(path: str | Path, what: str) -> str:
    """As `read_bytes`, decoded as UTF-8; a byte-order mark at the beginning is left out."""
    content = read_bytes(path, what)
    try:
        return content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: byte {error.start} is no UTF-8 (0x{content[error.start]:02x}); "
            f"a {what} file must be UTF-8 text, convert it first."
        ) from error
