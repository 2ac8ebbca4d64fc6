"""What several processes may share, rows of tokens or layers, and what that asks of a run.

Processes that share something work on the same samples; for the sequences in an update they count as one reader.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from uer_ds.errors import UserError

if TYPE_CHECKING:
    from uer_ds.config.run import RunConfig

ROWS, LAYERS = "--sequence_parallel_size", "--tensor_parallel_size"


@dataclass(frozen=True)
class Sharing:
    """Which processes work on the same samples: neighbours, so many at a time.

    Attributes:
        rows: processes that share each row, each with its own part of the tokens.
        layers: processes that share each layer, all on the same tokens.
    """

    rows: int = 1
    layers: int = 1

    @property
    def together(self) -> int:
        """Processes that count as one reader."""
        return self.rows * self.layers

    def readers(self, processes: int) -> int:
        """How many of `processes` read different samples."""
        return processes // self.together

    def reader(self, rank: int) -> int:
        """Which reader the process `rank` belongs to."""
        return rank // self.together

    def part(self, rank: int) -> int:
        """Which part of its rows the process `rank` has."""
        return rank % self.rows

    def check(self, processes: int) -> None:
        """Raise UserError where `processes` do not divide into readers."""
        if processes % self.together:
            option = ROWS if self.rows > 1 else LAYERS
            raise UserError(
                f"{option} {self.together}, but there are {processes} processes; start a multiple of "
                f"{self.together}, or give another number."
            )

    def in_words(self, processes: int) -> str:
        """For messages: "1 process", "8 processes", or "4 groups of 2 processes"."""
        if self.together > 1:
            return f"{self.readers(processes)} groups of {self.together} processes"
        return "1 process" if processes == 1 else f"{processes} processes"


ALONE = Sharing()
"""Every process reads samples of its own."""


def check_sharing(run: RunConfig) -> None:
    """Raise UserError where the model or its rows cannot be shared as `run` says."""
    rows, layers = run.sharing.rows, run.sharing.layers
    if rows > 1 and layers > 1:
        raise UserError(f"{ROWS} {rows} and {LAYERS} {layers} share different things; give one of them.")
    if rows > 1:
        _check_rows(run, f"{ROWS} {rows}", rows)
    if layers > 1:
        _check_layers(run, f"{LAYERS} {layers}", layers)


def _check_rows(run: RunConfig, option: str, count: int) -> None:
    model = run.model
    _check_encoder(run, option, {"has_residual_attention": False})
    _check_multiples(option, count, {"heads_num": model.heads_num, "seq_length": run.data.seq_length})
    if "cls" in model.target and model.pooling != "first":
        raise UserError(f"{option} needs pooling first for target cls, found {model.pooling!r}; change one.")


def _check_layers(run: RunConfig, option: str, count: int) -> None:
    model = run.model
    _check_encoder(run, option, {"relative_position_embedding": False})
    sizes = {"heads_num": model.heads_num, "local_kv_heads_num": model.local_kv_heads_num}
    _check_multiples(option, count, {**sizes, "feedforward_size": model.feedforward_size})
    if run.train.save_weights == "none":
        raise UserError(
            f"{option} with --save_weights none, but no file of the engine holds whole weights then; leave one out."
        )


def _check_encoder(run: RunConfig, option: str, others: dict[str, object]) -> None:
    for key, usual in {"encoder": "transformer", "decoder": None, **others}.items():
        value = getattr(run.model, key)
        if value != usual:
            wanted = "a transformer encoder without decoder" if key in ("encoder", "decoder") else f"{key} {usual}"
            raise UserError(f"{option} is for {wanted}, but {key} is {value!r}; leave it out.")


def _check_multiples(option: str, count: int, sizes: dict[str, int | None]) -> None:
    for key, size in sizes.items():
        if size and size % count:
            raise UserError(f"{key} {size} is no multiple of {option}; make it one.")
