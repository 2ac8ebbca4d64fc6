"""A plan in words: a table of all choices, the best one with its command, and the same as JSON data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, fields
from typing import Any

from uer_ds.plan.choices import MARGIN, Choice, Plan
from uer_ds.plan.cluster import Cluster
from uer_ds.plan.memory import Memory

GB = 1e9
PARTS = tuple(part.name for part in fields(Memory) if part.name != "host")
HEAD = ("DeepSpeed", "recompute", *PARTS, "GB", "host", "fits", "rows", "tokens/s", "days", "cost")
NUMBERS = frozenset(HEAD) - {"DeepSpeed", "recompute"}
"""Columns that end at the same place."""

HOURS_A_DAY, SECONDS_A_DAY = 24, 86400


def introduction(plan: Plan, cluster: Cluster, vocabulary: str) -> list[str]:
    """What is planned, and on what."""
    model, rows, device = plan.run.model, plan.rows, cluster.device
    peak = cluster.flops(plan.division.width) / cluster.efficiency / 1e12
    target = f" + {rows.target_length}" if rows.target_length else ""
    return [
        f"model      {model.encoder} {model.layers_num} x {model.hidden_size}; {plan.subject.parameters:,} parameters "
        f"with {model.vocab_size:,} words ({vocabulary})",
        f"rows       {rows.rows} x {rows.length}{target} tokens on each process; "
        + (f"{plan.update_rows} of an update" if plan.update_rows else f"{plan.subject.accumulation} times an update"),
        f"cluster    {cluster.nodes} x {cluster.per_node} {cluster.name}: {device.memory_gb:g} GB each, {peak:g} "
        f"TFLOP/s of which {cluster.efficiency:.0%} reached; {device.node_bandwidth_gb:g} GB/s in a node, "
        f"{device.network_bandwidth_gb:g} GB/s between nodes",
    ]


def table(plan: Plan, cluster: Cluster, found: Iterable[Choice]) -> list[tuple[str, ...]]:
    """The head and a row for each choice; memory in GB of one process."""
    return [HEAD, *(_row(plan, cluster, one) for one in found)]


def _row(plan: Plan, cluster: Cluster, one: Choice) -> tuple[str, ...]:
    memory = one.memory
    days = days_of(plan, one)
    cost = "-" if cluster.price is None else f"{cost_of(cluster, days):,.0f}"
    return (
        one.engine,
        "layers" if one.recompute else "-",
        *(f"{getattr(memory, part) / GB:.2f}" for part in PARTS),
        f"{memory.total / GB:.2f}",
        f"{memory.host / GB:.2f}" if memory.host else "-",
        f"{one.batch_size:,}" if one.batch_size else "no",
        str(one.rows),
        f"{one.time.tokens_per_second:,.0f}",
        f"{days:,.2f}",
        cost,
    )


def tokens_of(plan: Plan) -> float:
    """Source tokens of the whole run."""
    run, readers = plan.run, plan.run.sharing.readers(plan.division.processes)
    sequences = run.train.global_batch_size or run.train.batch_size * run.accumulation * readers
    return run.total_updates * sequences * plan.rows.length * run.sharing.rows


def days_of(plan: Plan, one: Choice) -> float:
    """From the first to the last update; checkpoints and evaluations not counted."""
    return tokens_of(plan) / one.time.tokens_per_second / SECONDS_A_DAY


def cost_of(cluster: Cluster, days: float) -> float:
    """Of all devices, in the unit of the price."""
    return days * HOURS_A_DAY * cluster.processes * (cluster.price or 0.0)


def recommendation(plan: Plan, cluster: Cluster, one: Choice | None, words: str) -> str:
    """One sentence, with the command; `words`: the options of the run as they were given."""
    limit = f"{cluster.device.memory_gb:g} GB less {MARGIN:.0%}"
    if one is None:
        return f"Nothing fits into {limit}: take more processes, a larger card, shorter rows or a smaller model."
    days = days_of(plan, one)
    cost = f" and {cost_of(cluster, days):,.0f} in money" if cluster.price is not None else ""
    extra = " --deepspeed_checkpoint_activations" if one.recompute else ""
    return (
        f"The best that fits into {limit} takes {one.memory.total / GB:.1f} GB, {days:,.2f} days{cost}:\n"
        f"  uer-ds pretrain{f' {words}' if words else ''} --ds_config {one.engine} --batch_size {one.rows}{extra}"
    )


def as_json(plan: Plan, cluster: Cluster, found: Iterable[Choice], chosen: Choice | None) -> dict[str, Any]:
    """Bytes and seconds, everything that the table is made of."""
    return {
        "parameters": plan.subject.parameters,
        "rows": asdict(plan.rows),
        "cluster": asdict(cluster),
        "tokens": tokens_of(plan),
        "choices": [_values(plan, cluster, one) for one in found],
        "recommended": _values(plan, cluster, chosen) if chosen else None,
    }


def _values(plan: Plan, cluster: Cluster, one: Choice) -> dict[str, Any]:
    days = days_of(plan, one)
    return {
        "ds_config": one.engine,
        "recompute_layers": one.recompute,
        "batch_size": one.rows,
        "largest_batch_size": one.batch_size,
        "memory": {**asdict(one.memory), "total": one.memory.total},
        "time": {**asdict(one.time), "seconds": one.time.seconds, "tokens_per_second": one.time.tokens_per_second},
        "days": days,
        "cost": None if cluster.price is None else cost_of(cluster, days),
    }
