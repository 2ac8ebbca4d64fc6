"""What several processes may share, each row of tokens, and what that asks of a run.

Processes that share rows read the same samples; for the sequences in an update they count as one reader.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from uer_ds.errors import UserError

if TYPE_CHECKING:
    from uer_ds.config.run import RunConfig

OPTION = "--sequence_parallel_size"


def check_sharing(run: RunConfig) -> None:
    """Raise UserError where the model or its rows cannot be shared as `run` says."""
    count, model = run.train.sequence_parallel_size, run.model
    if count < 1:
        raise UserError(f"{OPTION} is {count}; expected a positive integer.")
    if count == 1:
        return
    for key, value, usual in (
        ("encoder", model.encoder, "transformer"),
        ("decoder", model.decoder, None),
        ("has_residual_attention", model.has_residual_attention, False),
    ):
        if value != usual:
            raise UserError(
                f"{OPTION} {count} shares the rows of a transformer encoder, but {key} is {value!r}; leave it out."
            )
    for key, size in (("heads_num", model.heads_num), ("seq_length", run.data.seq_length)):
        if size and size % count:
            raise UserError(f"{key} {size} is no multiple of {OPTION} {count}; make it one.")
    if "cls" in model.target and model.pooling != "first":
        raise UserError(f"{OPTION} {count} needs pooling first for target cls, found {model.pooling!r}; change one.")


def readers(processes: int, per_row: int) -> int:
    """How many of `processes` read different rows, where `per_row` share each; UserError where they do not divide."""
    if processes % per_row:
        raise UserError(
            f"{OPTION} {per_row}, but there are {processes} processes; start a multiple of {per_row}, or give another "
            "number."
        )
    return processes // per_row


def readers_in_words(processes: int, per_row: int) -> str:
    """For messages: "8 processes", or "4 groups of 2 processes"."""
    return f"{processes} processes" if per_row == 1 else f"{processes // per_row} groups of {per_row} processes"
