"""Classical poems to train a small GPT-2 on, from JSON files of the npm package `chinese-poetry` (MIT licence).

Its files are lists of objects with the lines of a poem under `paragraphs` (poems, lyrics) or `content` (the Book of
Songs); other objects (authors, ranks, tones) are passed over. A poem becomes one line of text. Traditional characters
become simplified ones, as most people type them, by the package `opencc`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from uer_ds.errors import UserError

LINES = ("paragraphs", "content")
LENGTHS = range(10, 127)
"""Characters of a poem that is kept: it fits a row of 128 tokens with its marks."""
EVERY = 100
"""One poem in so many is held out."""
VERSE = re.compile(r"[一-鿿]+(?:[，。？！；、：][一-鿿]+)*[。？！；]")
"""Chinese characters and marks: no gaps (□), notes in brackets or variants."""


def read_poems(folder: Path) -> tuple[list[str], int]:
    """Every different poem that can be kept, in the order of the files, and how many there were.

    Raises UserError where there is no poem, or a file is no JSON.
    """
    simplify = converter()
    found, kept = 0, dict[str, None]()
    for lines in _poems(sorted(folder.rglob("*.json")) if folder.is_dir() else [folder]):
        found += 1
        poem = simplify(re.sub(r"\s", "", "".join(lines)))
        if len(poem) in LENGTHS and VERSE.fullmatch(poem):
            kept[poem] = None
    if not kept:
        raise UserError(
            f"{folder}: no poems; expected JSON files with lists of objects that have paragraphs, as in the npm "
            "package chinese-poetry (`npm pack chinese-poetry`, then unpack it)."
        )
    return list(kept), found


def split(poems: Iterable[str]) -> tuple[list[str], list[str]]:
    """Poems to train on, and held-out ones from everywhere among them."""
    parts: tuple[list[str], list[str]] = ([], [])
    for number, poem in enumerate(poems):
        parts[number % EVERY == EVERY // 2].append(poem)
    return parts


def converter() -> Any:
    """A function from traditional to simplified characters."""
    try:
        import opencc
    except ImportError:
        raise UserError("the package opencc is not installed; install it with `pip install 'uer_ds[demo]'`.") from None
    return opencc.OpenCC("t2s").convert


def _poems(paths: Iterable[Path]) -> Iterator[list[str]]:
    for path in paths:
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: cannot be read as JSON ({error}).") from error
        for value in values if isinstance(values, list) else []:
            lines = next((value[name] for name in LINES if name in value), None) if isinstance(value, dict) else None
            if isinstance(lines, list) and lines and all(isinstance(line, str) for line in lines):
                yield lines
