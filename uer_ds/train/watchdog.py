"""`Watchdog`: what happens when an update moves nothing because its loss or its gradient is not finite.

The engine has skipped it on all ranks alike; here it is said, its samples are written to `non_finite.jsonl`, so that
the text can be looked at, and a run that only skips is ended. All of it costs nothing until an update is skipped.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from uer_ds.config.sharing import ALONE, Sharing
from uer_ds.data.blend import Blend
from uer_ds.data.sampler import SampleNumbers, Sampler
from uer_ds.data.samples import Objective
from uer_ds.engine.group import Group
from uer_ds.errors import UserError
from uer_ds.storage.disk import naming
from uer_ds.storage.places import NON_FINITE_FILE


@dataclass(frozen=True)
class Source:
    """Where the samples of an update come from: enough to name them again."""

    objective: Objective
    sampler: Sampler
    batch_size: int
    accumulation: int
    sampling: dict[str, Any]
    """Options of `uer-ds dataset sample` that give the same samples."""
    sharing: Sharing = ALONE


class Watchdog:
    """Sees to skipped updates. Every method is called on all ranks.

    Args:
        limit: skipped updates in a row after which the run ends with a `UserError`.
        say: prints a line on rank 0.
        last_checkpoint: reads and names the newest sound checkpoint, None when there is none; raises UserError when all
            of them are damaged.
    """

    def __init__(
        self,
        group: Group,
        source: Source,
        output: Path,
        limit: int,
        say: Callable[[str], None],
        last_checkpoint: Callable[[], Path | None],
    ):
        self._group, self._source, self._file = group, source, output / NON_FINITE_FILE
        self._limit, self._say, self._last_checkpoint = limit, say, last_checkpoint
        self._in_a_row, self._previous = 0, -1

    def skipped(self, updates: int, samples: int, losses: list[Tensor], scale: tuple[float, float] | None) -> None:
        """The update after `updates` updates and `samples` samples was skipped.

        `losses`: of this rank's micro-batches; `scale`: float16's loss scale and its minimum. Raises UserError, on all
        ranks, when it was one too many.
        """
        broken = self._broken_losses(losses)
        if scale and not broken and scale[0] > scale[1]:
            self._tell(f"update {updates + 1}: float16 gradients overflow, skipped; the loss scale is {scale[0]:g} now")
            return
        self._in_a_row = self._in_a_row + 1 if self._previous == updates - 1 else 1
        self._previous = updates
        what = "the loss" if broken else "the gradient"
        at = f"; the loss scale is at its minimum {scale[1]:g}" if scale and scale[0] <= scale[1] else ""
        self._group.on_first(lambda: self._write(updates, samples, broken))
        self._tell(f"update {updates + 1}: {what} is not finite{at}; skipped, its samples are in {self._file}")
        if self._in_a_row >= self._limit:
            raise UserError(self._no_hope(updates, what, at))

    def _broken_losses(self, losses: list[Tensor]) -> list[tuple[int, int]]:
        """(rank, micro-batch) of every loss that is not finite, over all ranks."""
        place = self._group.place
        flags = torch.zeros(place.world_size, len(losses), dtype=torch.float64)
        flags[place.rank] = torch.stack(losses).float().isfinite().logical_not().cpu().double()
        return [(rank, micro) for rank, micro in self._group.sum(flags).nonzero().tolist()]

    def _write(self, updates: int, samples: int, broken: list[tuple[int, int]]) -> None:
        ranks, sharing = self._group.place.world_size, self._source.sharing
        found = broken or [(rank, micro) for rank in range(ranks) for micro in range(self._source.accumulation)]
        places = {(sharing.reader(rank) * sharing.together, micro) for rank, micro in found}  # each sample once
        parts = []
        for rank, micro in sorted(places):
            share = self._share(samples, rank)[micro]
            parts += [{"rank": rank, "micro_batch": micro, **origin} for origin in self._origins(share)]
        line = {"update": updates + 1, "what": "loss" if broken else "gradient", "samples": parts}
        with naming(self._file), self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")

    def _share(self, samples: int, rank: int) -> list[SampleNumbers]:
        source = self._source
        reader, readers = source.sharing.reader(rank), source.sharing.readers(self._group.place.world_size)
        return source.sampler.share(samples, reader, readers, source.batch_size, source.accumulation)

    def _origins(self, samples: SampleNumbers) -> Iterator[dict[str, Any]]:
        """The samples by dataset and epoch, with the command that shows them."""
        objective = self._source.objective
        places = np.arange(len(samples[1]))
        parts = objective.origins(*samples) if isinstance(objective, Blend) else [(objective, places, *samples)]
        for part, _, epochs, numbers in parts:
            folder = str(part.dataset.folder)
            for epoch in np.unique(epochs).tolist():
                found = numbers[epochs == epoch].tolist()
                command = ["uer-ds dataset sample", folder, *self._words(), "--epoch", epoch, "--samples", *found]
                yield {"dataset": folder, "epoch": epoch, "numbers": found, "look": " ".join(map(str, command))}

    def _words(self) -> list[Any]:
        words: list[Any] = []
        for name, value in self._source.sampling.items():
            if value is not None and value is not False:
                words += [f"--{name}"] if value is True else [f"--{name}", value]
        return words

    def _no_hope(self, updates: int, what: str, at: str) -> str:
        good = self._good_checkpoint()
        return (
            f"update {updates + 1}: {what} was not finite {self._in_a_row} times in a row{at} (--max_skipped_updates); "
            f"{good}: look at the samples in {self._file}, or go on with a lower --learning_rate, with --max_grad_norm "
            "1, or in bfloat16 or float32."
        )

    def _good_checkpoint(self) -> str:
        """The newest checkpoint in words, after its files have been read."""
        try:
            checkpoint = self._last_checkpoint()
        except UserError as none_is_sound:
            return str(none_is_sound).rstrip(".")
        return f"{checkpoint} is whole and good" if checkpoint else "there is no checkpoint yet"

    def _tell(self, line: str) -> None:
        if self._group.place.is_first:
            self._say(line)
