"""Texts to rows of ids: [CLS] a [SEP], or [CLS] a [SEP] b [SEP] with segments 1 and 2, cut at the right end.

As UER-py cuts: a long first text pushes out the second one, and a cut row may lose its last [SEP].
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice, pairwise
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from uer_ds.tokenizers import Tokenizer

T = TypeVar("T")
U = TypeVar("U")
Ids = NDArray[np.int32]

BLOCK = 4096
"""Texts that are tokenised at a time."""


@dataclass(frozen=True)
class Encoded:
    """One row: `ids` int32 [n]; its first `first` tokens are segment 1, the others segment 2.

    `limit`: the length to which rows may be padded.
    """

    ids: Ids
    first: int
    limit: int

    def __len__(self) -> int:
        return len(self.ids)

    def segments(self) -> Ids:
        """int32 [n]: 1, then 2."""
        return np.where(np.arange(len(self.ids)) < self.first, 1, 2).astype(np.int32)


@dataclass
class Encoder:
    """Makes rows of at most `seq_length` tokens; `cut` counts those that were longer."""

    tokenizer: Tokenizer
    seq_length: int
    cut: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.tokenizer.require("pad")

    def special(self, role: str) -> int:
        """The id of a special token ("cls", "sep", "mask", ...); raises UserError when the vocabulary has none."""
        self.tokenizer.require(role)
        return int(getattr(self.tokenizer.special, role))

    def ids(self, texts: Sequence[str]) -> list[Ids]:
        """Token ids of each text, without special tokens."""
        if not texts:
            return []
        ids, offsets = self.tokenizer.encode_batch(texts)
        return [ids[begin:end] for begin, end in pairwise(offsets)]

    def row(self, *parts: Ids | Sequence[int], second: Ids | Sequence[int] | None = None) -> Encoded:
        """The parts one after the other as segment 1, then `second` as segment 2, cut to the row's length."""
        pieces = [np.asarray(part, dtype=np.int32) for part in (*parts, *([] if second is None else [second]))]
        ids = np.concatenate(pieces)
        first = len(ids) if second is None else len(ids) - len(pieces[-1])
        self.cut += len(ids) > self.seq_length
        return Encoded(ids[: self.seq_length], min(first, self.seq_length), self.seq_length)

    def single(self, a: Ids) -> Encoded:
        """[CLS] a [SEP]"""
        return self.row([self.special("cls")], a, [self.special("sep")])

    def pair(self, a: Ids, b: Ids) -> Encoded:
        """[CLS] a [SEP] b [SEP]"""
        sep = self.special("sep")
        return self.row([self.special("cls")], a, [sep], second=np.append(b, np.int32(sep)))


def in_blocks(items: Iterable[T], work: Callable[[list[T]], Iterable[U]]) -> Iterator[U]:
    """`work` applied to blocks of `BLOCK` items, its results one by one."""
    iterator = iter(items)
    while block := list(islice(iterator, BLOCK)):
        yield from work(block)
