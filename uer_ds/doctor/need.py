"""How much memory a run needs, from its configuration alone."""

from __future__ import annotations

from uer_ds.config.run import RunConfig
from uer_ds.launch.place import Place
from uer_ds.plan.choices import need, plan_of


def needed_bytes(run: RunConfig | None, place: Place) -> float:
    """About what the processes of this machine need in an update, where CPUs train (see docs/plan.md); 0 without a run.

    With --batch_size auto: of one row, the least that must fit.
    """
    if run is None:
        return 0.0
    plan = plan_of(run, place.world_size, "cpu")
    return place.local_world_size * need(plan, plan.rows.rows).total
