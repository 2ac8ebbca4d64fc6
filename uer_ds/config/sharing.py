"""What several processes may share, rows of tokens or layers, and what that asks of a run.

Processes that share something work on the same samples; for the sequences in an update they count as one reader.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from uer_ds.errors import UserError

if TYPE_CHECKING:
    from uer_ds.config.run import RunConfig

ROWS, LAYERS = "--sequence_parallel_size", "--tensor_parallel_size"


def check_sharing(run: RunConfig) -> None:
    """Raise UserError where the model or its rows cannot be shared as `run` says."""
    rows, layers = run.train.sequence_parallel_size, run.train.tensor_parallel_size
    for option, count in ((ROWS, rows), (LAYERS, layers)):
        if count < 1:
            raise UserError(f"{option} is {count}; expected a positive integer.")
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


def readers(run: RunConfig, processes: int) -> int:
    """How many of `processes` read different samples; UserError where they do not divide into groups."""
    together = run.processes_together
    if processes % together:
        option = ROWS if run.train.sequence_parallel_size > 1 else LAYERS
        raise UserError(
            f"{option} {together}, but there are {processes} processes; start a multiple of {together}, or give "
            "another number."
        )
    return processes // together


def readers_in_words(processes: int, together: int = 1) -> str:
    """For messages: "1 process", "8 processes", or "4 groups of 2 processes"."""
    if together > 1:
        return f"{processes // together} groups of {together} processes"
    return "1 process" if processes == 1 else f"{processes} processes"
