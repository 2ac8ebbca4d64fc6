"""A whole generation: prompts in batches of like length, texts in the order of the prompts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from uer_ds.generate.beams import search
from uer_ds.generate.texts import Desk
from uer_ds.generate.writing import Prompt, Text, write
from uer_ds.models.model import Model


@dataclass
class Pace:
    """How much was written."""

    texts: int = 0
    tokens: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        rate = self.tokens / self.seconds if self.seconds else 0.0
        return f"{self.texts:,} texts, {self.tokens:,} tokens in {self.seconds:.1f} s, {rate:,.0f} tokens/s"


def generate(
    model: Model,
    desk: Desk,
    texts: Sequence[str],
    batch_size: int,
    pace: Pace,
    watch: Callable[[Text], None] | None = None,
) -> Iterator[tuple[str, Text]]:
    """(prompt, text) for every sample of every prompt, in order.

    `watch` is told of the text after each of its tokens (only where one text is written at a time, and not by beams).
    """
    prompts = desk.prompts(texts, 0)
    samples = desk.texts.samples_num
    for start in range(0, len(prompts), batch_size):
        began = time.perf_counter()
        part = prompts[start : start + batch_size]
        written = _batch(model, desk, part, watch if batch_size == 1 else None)
        pace.seconds += time.perf_counter() - began
        pace.texts += len(written)
        pace.tokens += sum(len(text.ids) + text.ended for text in written)
        for offset, text in enumerate(written):
            yield texts[(start + offset) // samples], text


def _batch(model: Model, desk: Desk, prompts: Sequence[Prompt], watch: Callable[[Text], None] | None) -> list[Text]:
    rules = desk.rules(prompts)
    if desk.sampling.beam_size > 1:
        return search(model, prompts, rules)
    written: list[Text] = []
    for written in write(model, prompts, rules):
        if watch is not None:
            watch(written[0])
    return written
