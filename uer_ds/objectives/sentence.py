"""`bert` and `albert`: masked language model plus a task about two runs of sentences.

Both take a chunk of sentences of about S - 3 tokens (a shorter one with probability `short_seq_prob`) and cut it in
two, A and B. NextSentence replaces B half of the time by sentences of another document; SentenceOrder swaps A and B
half of the time. One pair a row, padded. Each epoch draws cuts, partners and masks anew.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from uer_ds.data.batch import Batch
from uer_ds.data.chunks import SentenceChunks, sentences_up_to
from uer_ds.data.dataset import Dataset
from uer_ds.data.random import Draws, pick, threshold
from uer_ds.data.samples import Objective
from uer_ds.data.tokens import TokenTable
from uer_ds.objective_specs import OBJECTIVE_SPECS, ObjectiveSpec
from uer_ds.objectives.base import Ints, RowBuilder, labels_where, make_masker, tensor
from uer_ds.objectives.options import RowOptions, require_length

LONGEST_RUN = 16
"""A run is looked at up to this many times the room of a row: the text of a whole book may be one sentence."""


@dataclass(frozen=True)
class Pair:
    """Two runs of tokens, [start, end) each, and the class of the pair."""

    a: tuple[int, int]
    b: tuple[int, int]
    label: int


class SentencePair(Objective):
    """What both objectives share; `_pair` decides what B is."""

    spec: ObjectiveSpec

    def __init__(self, dataset: Dataset, options: RowOptions):
        require_length("--seq_length", options.seq_length, 5, self.spec.name)
        self.dataset = dataset
        self._table = TokenTable(dataset)
        self._seq_length, self._room = options.seq_length, options.seq_length - 3
        self._short = threshold(options.short_seq_prob)
        self._chunks = SentenceChunks(self._table, self._room)
        self._masker = make_masker(self._table, options, self.spec)
        self._with_words = options.whole_word_masking
        self._pad, self._cls, self._sep = options.special_ids(self.spec)[:3]
        self._draws = Draws(options.seed, f"{self.spec.name}/pair")
        self._drops = [Draws(options.seed, f"{self.spec.name}/truncation of {side}") for side in ("A", "B")]

    def __len__(self) -> int:
        return len(self._chunks)

    def batch(self, epochs: Ints, numbers: Ints) -> Batch:
        """[B, S] rows [CLS] A [SEP] B [SEP]; labels "mlm" [B, S] and "sp" [B]."""
        words = self._draws.words(epochs, numbers, 8).tolist()
        places = zip(*self._chunks.locate(numbers), strict=True)
        pairs = [self._sample(*place, draws) for place, draws in zip(places, words, strict=True)]
        runs = np.array([pair.a + pair.b for pair in pairs], dtype=np.int64).reshape(-1, 4).T
        runs = self._truncated(runs, epochs, numbers)
        rows = RowBuilder(self._table, len(numbers), self._seq_length, self._pad, self._with_words)
        rows.add_token(self._cls, 1)
        rows.add_run(runs[0], runs[1] - runs[0], 1)
        rows.add_token(self._sep, 1)
        rows.add_run(runs[2], runs[3] - runs[2], 2)
        rows.add_token(self._sep, 2)
        ids, chosen = self._masker.mask(rows.ids, rows.segments, epochs, numbers, rows.word_starts)
        labels = {"mlm": labels_where(chosen, rows.ids), "sp": torch.tensor([pair.label for pair in pairs])}
        return Batch(ids=tensor(ids), segments=tensor(rows.segments), labels=labels)

    def _sample(self, document: int, bounds: Ints, draws: list[int]) -> Pair:
        """Cut the chunk of one sample; draws 0 to 2 decide its length and its cut, the others are for `_pair`."""
        target = 2 + pick(draws[1], self._room - 1) if draws[0] < self._short else self._room
        bounds = bounds[: sentences_up_to(bounds, target) + 1]
        cut = 1 + (pick(draws[2], len(bounds) - 2) if len(bounds) > 2 else 0)
        return self._pair(document, bounds, cut, target, draws[3:])

    def _pair(self, document: int, bounds: Ints, cut: int, target: int, draws: list[int]) -> Pair:
        """The sample made of the sentences before and after `cut`."""
        raise NotImplementedError

    def _truncated(self, runs: Ints, epochs: Ints, numbers: Ints) -> Ints:
        """Cut [4, B] runs (A start, A end, B start, B end) to the room of a row.

        As if tokens were dropped one by one from the longer run (B on ties), from either end with equal probability.
        """
        lengths = np.minimum(runs[1::2] - runs[::2], LONGEST_RUN * self._room)  # [2, B]
        excess = lengths - balanced(lengths, self._room)
        result = runs.copy()
        for side, draws in enumerate(self._drops):
            words = draws.words(epochs, numbers, -(-int(excess[side].max(initial=0)) // 32))
            coins = np.unpackbits(words.view(np.uint8), axis=1) > 0  # [B, 32 a word]
            tossed = np.arange(coins.shape[1]) < excess[side][:, None]
            result[2 * side] += (coins & tossed).sum(axis=1)
            result[2 * side + 1] = result[2 * side] + lengths[side] - excess[side]
        return result


class NextSentence(SentencePair):
    """BERT: does B follow A (0) or come from another document (1)?"""

    spec = OBJECTIVE_SPECS["bert"]

    def _pair(self, document: int, bounds: Ints, cut: int, target: int, draws: list[int]) -> Pair:
        a = (int(bounds[0]), int(bounds[cut]))
        follows = (int(bounds[cut]), int(bounds[-1]))
        if len(bounds) > 2 and draws[0] < threshold(0.5):
            return Pair(a, follows, 0)
        return Pair(a, self._elsewhere(document, target - (a[1] - a[0]), draws[1:]), 1)

    def _elsewhere(self, document: int, length: int, draws: list[int]) -> tuple[int, int]:
        """Sentences of another document (if there is one) from a random one on, until `length` is reached."""
        documents = self._table.documents
        if documents > 1:
            other = ((draws[0] << 32 | draws[1]) * (documents - 1)) >> 64
            document = other + (other >= document)
        starts = self._table.item_starts(document)
        first = pick(draws[2], len(starts) - 1)
        bounds = starts[first:]
        return int(bounds[0]), int(bounds[sentences_up_to(bounds, length)])


class SentenceOrder(SentencePair):
    """ALBERT: are A and B in order (0) or swapped (1)? The B of a chunk of one sentence is empty, as in UER-py."""

    spec = OBJECTIVE_SPECS["albert"]

    def _pair(self, document: int, bounds: Ints, cut: int, target: int, draws: list[int]) -> Pair:
        a = (int(bounds[0]), int(bounds[cut]))
        b = (int(bounds[cut]), int(bounds[-1]))
        return Pair(b, a, 1) if draws[0] < threshold(0.5) else Pair(a, b, 0)


def balanced(lengths: Ints, room: int) -> Ints:
    """Lengths [2, B] after tokens are dropped from the longer run (the second on ties) until both fit into `room`."""
    first, second = lengths
    half = -(-room // 2)
    fits = first + second <= room
    new_first = np.where(fits, first, np.where(first <= half, first, np.maximum(half, room - second)))
    return np.stack([new_first, np.where(fits, second, room - new_first)])
