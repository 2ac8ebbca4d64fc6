"""`Layout`: how a run is divided over processes and micro-batches. Checkpoints keep it; a start may change it."""

from __future__ import annotations

from dataclasses import dataclass

from uer_ds.config.sharing import ALONE, Sharing


@dataclass(frozen=True)
class Layout:
    """How a run is divided.

    Attributes:
        processes: of the whole run.
        stage: of ZeRO.
        offload: what of the engine's state lies elsewhere, "" where nothing does ("optimizer to cpu+param to nvme").
        precision: fp32, bf16, fp16.
        batch_size: sequences in a micro-batch of one reader.
        accumulation_steps: micro-batches in an update.
        steps_per_update: what the `*_steps` options count, in an update.
        sharing: which processes work on the same samples.
    """

    processes: int
    stage: int
    offload: str
    precision: str
    batch_size: int
    accumulation_steps: int
    steps_per_update: int
    sharing: Sharing = ALONE

    @property
    def sequences(self) -> int:
        """In an update, over all processes."""
        return self.sharing.readers(self.processes) * self.batch_size * self.accumulation_steps

    @property
    def product(self) -> str:
        """`sequences` in words."""
        return f"{self.sharing.in_words(self.processes)} x {self.batch_size} x {self.accumulation_steps}"

    @property
    def division(self) -> str:
        """How the engine's state is divided, in words."""
        what = "layer" if self.sharing.layers > 1 else "row"
        group = f" ({self.sharing.together} on each {what})" if self.sharing.together > 1 else ""
        precision = "" if self.precision == "fp32" else f" in {self.precision}"
        offload = f", {self.offload}" if self.offload else ""
        return f"{self.processes} process{'es' * (self.processes > 1)}{group} at stage {self.stage}{precision}{offload}"

    def divided_like(self, other: Layout) -> bool:
        """Whether the engine's files of one can be read for the other as they are, each rank its own."""
        same = (self.stage, self.offload, self.precision) == (other.stage, other.offload, other.precision)
        processes = self.stage == 0 or self.processes == other.processes  # at stage 0 one file serves any number
        return same and processes and self.sharing.layers == other.sharing.layers
