"""How many micro-batches make an update: from the options, the number of processes, the checkpoint that is continued.

The number of sequences in an update decides the result of training, the number of processes only its speed. So a
resumed run keeps the first where it can, and what its `*_steps` options count never changes on the way.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from math import gcd

from uer_ds.config.run import RunConfig
from uer_ds.config.sharing import readers, readers_in_words
from uer_ds.errors import UserError


def settle_batches(
    run: RunConfig, processes: int, before: Mapping[str, int] | None = None
) -> tuple[RunConfig, list[str]]:
    """The run with its accumulation decided, and lines for the user about what differs from the run it continues.

    `before`: processes, batch_size, accumulation_steps and steps_per_update of the checkpoint; None: a new run.
    Raises UserError when the processes' micro-batches do not divide `--global_batch_size`.
    """
    train, together = run.train, run.processes_together
    at_once = readers(run, processes) * train.batch_size
    if train.global_batch_size is not None:
        accumulation, unit = _divided(train.global_batch_size, processes, together, train.batch_size), 1
        if train.accumulation_steps not in (None, accumulation):
            raise UserError(
                f"--global_batch_size {train.global_batch_size} = {readers_in_words(processes, together)} x "
                f"--batch_size {train.batch_size} x {accumulation} micro-batches, but --accumulation_steps is "
                f"{train.accumulation_steps}; leave it out."
            )
    elif before is None:
        accumulation = unit = train.accumulation_steps or 1
    else:
        accumulation = train.accumulation_steps or _kept(sequences_of(before), at_once)
        unit = before.get("steps_per_update", before["accumulation_steps"])
    settled = dataclasses.replace(train, accumulation_steps=accumulation, steps_per_update=unit)
    now = {"processes": processes, "processes_together": together}
    now |= {"batch_size": train.batch_size, "accumulation_steps": accumulation}
    return dataclasses.replace(run, train=settled), _differences(before, now, unit) if before else []


def sequences_of(layout: Mapping[str, int]) -> int:
    """Sequences in an update over all processes."""
    return layout["processes"] // _together(layout) * layout["batch_size"] * layout["accumulation_steps"]


def _together(layout: Mapping[str, int]) -> int:
    return layout.get("processes_together", 1)  # checkpoints did not record it at first


def _kept(sequences: int, at_once: int) -> int:
    """Micro-batches that keep an update at `sequences`; 1 where `at_once` of them do not divide it."""
    return 1 if sequences % at_once else sequences // at_once


def _divided(sequences: int, processes: int, together: int, batch_size: int) -> int:
    count = processes // together
    at_once = count * batch_size
    if sequences % at_once == 0:
        return sequences // at_once
    below = sequences // at_once * at_once
    totals = " or ".join(str(total) for total in (below, below + at_once) if total)
    sizes = gcd(sequences, count) == count and _nearest_divisor(sequences // count, batch_size)
    counts = gcd(sequences, batch_size) == batch_size and _nearest_divisor(sequences // batch_size, count)
    others = [f"--batch_size {sizes}"] if sizes else []
    others += [f"{counts * together} processes"] if counts else []
    who = readers_in_words(processes, together)
    raise UserError(
        f"--global_batch_size {sequences} is no multiple of {who} x --batch_size {batch_size} = "
        f"{at_once}; the nearest that work: --global_batch_size {totals}{''.join(f', or {other}' for other in others)}."
    )


def _nearest_divisor(number: int, wish: int) -> int:
    return min((d for d in range(1, number + 1) if number % d == 0), key=lambda d: (abs(d - wish), d))


def _differences(before: Mapping[str, int], now: Mapping[str, int], unit: int) -> list[str]:
    old, new = sequences_of(before), sequences_of(now)
    if old != new:
        return [
            f"update     {new} sequences from here on, {old} before; the schedule goes on in updates, "
            f"of which every {unit} steps of the options make one"
        ]
    if any(before.get(key, 1) != now[key] for key in now):
        return [f"update     {old} sequences, as before: {_product(before)} before, {_product(now)} now"]
    return []


def _product(layout: Mapping[str, int]) -> str:
    who = readers_in_words(layout["processes"], _together(layout))
    return f"{who} x {layout['batch_size']} x {layout['accumulation_steps']}"
