"""Lines of text files of any size. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from uer_ds.errors import UserError


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """(number from 1, line without its end) of every line that holds more than spaces.

    Raises UserError for a file that cannot be read as UTF-8.
    """
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, line.rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as UTF-8 text ({error}).") from error
