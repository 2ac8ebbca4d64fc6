"""How many micro-batches make an update: from the options, the number of processes, the checkpoint that is continued.

The number of sequences in an update decides the result of training, the number of processes only its speed. So a
resumed run keeps the first where it can, and what its `*_steps` options count never changes on the way.
"""

from __future__ import annotations

import dataclasses
from math import gcd

from uer_ds.config.layout import Layout
from uer_ds.config.run import RunConfig
from uer_ds.config.sharing import Sharing
from uer_ds.errors import UserError


def settle_batches(run: RunConfig, processes: int, before: Layout | None = None) -> tuple[RunConfig, list[str]]:
    """The run with its accumulation decided, and lines for the user about what differs from the run it continues.

    `before`: of the checkpoint; None: a new run.
    Raises UserError when the processes' micro-batches do not divide `--global_batch_size`.
    """
    train, sharing = run.train, run.sharing
    sharing.check(processes)
    at_once = sharing.readers(processes) * train.batch_size
    if train.global_batch_size is not None:
        accumulation, unit = _divided(train.global_batch_size, processes, sharing, train.batch_size), 1
        if train.accumulation_steps not in (None, accumulation):
            raise UserError(
                f"--global_batch_size {train.global_batch_size} = {sharing.in_words(processes)} x "
                f"--batch_size {train.batch_size} x {accumulation} micro-batches, but --accumulation_steps is "
                f"{train.accumulation_steps}; leave it out."
            )
    elif before is None:
        accumulation = unit = train.accumulation_steps or 1
    else:
        accumulation = train.accumulation_steps or _kept(before.sequences, at_once)
        unit = before.steps_per_update
    settled = dataclasses.replace(
        run, train=dataclasses.replace(train, accumulation_steps=accumulation, steps_per_update=unit)
    )
    if before is None:
        return settled, []
    now = dataclasses.replace(
        before,
        processes=processes,
        sharing=sharing,
        batch_size=train.batch_size,
        accumulation_steps=accumulation,
    )
    return settled, _differences(before, now, unit)


def _kept(sequences: int, at_once: int) -> int:
    """Micro-batches that keep an update at `sequences`; 1 where `at_once` of them do not divide it."""
    return 1 if sequences % at_once else sequences // at_once


def _divided(sequences: int, processes: int, sharing: Sharing, batch_size: int) -> int:
    count = sharing.readers(processes)
    at_once = count * batch_size
    if sequences % at_once == 0:
        return sequences // at_once
    below = sequences // at_once * at_once
    totals = " or ".join(str(total) for total in (below, below + at_once) if total)
    sizes = gcd(sequences, count) == count and _nearest_divisor(sequences // count, batch_size)
    counts = gcd(sequences, batch_size) == batch_size and _nearest_divisor(sequences // batch_size, count)
    others = [f"--batch_size {sizes}"] if sizes else []
    others += [f"{counts * sharing.together} processes"] if counts else []
    who = sharing.in_words(processes)
    raise UserError(
        f"--global_batch_size {sequences} is no multiple of {who} x --batch_size {batch_size} = "
        f"{at_once}; the nearest that work: --global_batch_size {totals}{''.join(f', or {other}' for other in others)}."
    )


def _nearest_divisor(number: int, wish: int) -> int:
    return min((d for d in range(1, number + 1) if number % d == 0), key=lambda d: (abs(d - wish), d))


def _differences(before: Layout, now: Layout, unit: int) -> list[str]:
    old, new = before.sequences, now.sequences
    if old != new:
        return [
            f"update     {new} sequences from here on, {old} before; the schedule goes on in updates"
            + (f", {unit} steps of the options each" if unit > 1 else "")
        ]
    if before != now:
        return [f"update     {old} sequences, as before: {before.product} before, {now.product} now"]
    return []
