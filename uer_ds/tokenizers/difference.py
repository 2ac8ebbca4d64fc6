"""What two vocabularies have in common."""

from __future__ import annotations

from dataclasses import dataclass

from uer_ds.tokenizers.vocabulary import Vocabulary


@dataclass(frozen=True)
class Difference:
    """Tokens of one vocabulary only, how many both have, and how many of these have another id."""

    first_only: tuple[str, ...]
    second_only: tuple[str, ...]
    common: int
    moved: int


def compare_vocabularies(first: Vocabulary, second: Vocabulary) -> Difference:
    """Compare two vocabularies token by token."""
    common = first.ids.keys() & second.ids.keys()
    return Difference(
        tuple(token for token in first.ids if token not in second.ids),
        tuple(token for token in second.ids if token not in first.ids),
        len(common),
        sum(first.ids[token] != second.ids[token] for token in common),
    )
