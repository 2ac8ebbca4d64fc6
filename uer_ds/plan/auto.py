"""`--batch_size auto`: the largest micro-batch that fits into a process's memory, chosen when the run starts.

How many sequences make an update stays as the options say with --global_batch_size; the micro-batch only decides in how
many pieces they are computed. Without it the micro-batch is the update, so another machine trains another run: then
give both numbers.
"""

from __future__ import annotations

import dataclasses

from uer_ds.config.layout import Layout
from uer_ds.config.run import RunConfig
from uer_ds.errors import UserError
from uer_ds.plan.choices import MARGIN, fits, largest_batch, need, plan_of, sizes


def settle_micro_batch(
    run: RunConfig, processes: int, device: str, free: float, before: Layout | None = None
) -> tuple[RunConfig, list[str]]:
    """`run` with a micro-batch in the place of "auto", and a line for the user.

    `device`: "cpu" or "gpu"; `free`: bytes that each process may have, the least of all; `before`: of the checkpoint
    that is continued, whose micro-batch is kept where it fits. Raises UserError when not even one row fits.
    """
    plan = plan_of(run, processes, device)
    room = (1 - MARGIN) * free
    kept = before.batch_size if before else 0
    stays = kept in sizes(plan.update_rows, kept) and fits(plan, kept, room)
    rows = kept if stays else largest_batch(plan, room)
    if not rows:
        raise UserError(
            f"--batch_size auto: one row of {plan.rows.length} tokens takes about {need(plan, 1).total / 1e9:.1f} GB "
            f"with ZeRO stage {plan.division.stage}, but a process has {free / 1e9:.1f} GB of which {MARGIN:.0%} stay "
            "free; `uer-ds plan` shows what would fit."
        )
    train = dataclasses.replace(run.train, batch_size=rows)
    why = "as before" if stays else "the largest that fits"
    line = f"batch      {rows} sequences in a micro-batch, {why}: about {need(plan, rows).total / 1e9:.1f} GB"
    return dataclasses.replace(run, train=train), [f"{line} a process, of {free / 1e9:.1f} GB"]
