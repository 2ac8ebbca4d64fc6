"""Every way to divide a run (ZeRO stage, offloading, recomputation) with its memory and time, and the best of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from uer_ds.config.run import RunConfig
from uer_ds.models.model import Model, build_shapes, count_parameters
from uer_ds.plan.cluster import Cluster
from uer_ds.plan.division import Division, division_of
from uer_ds.plan.memory import Memory, Subject, peak
from uer_ds.plan.rows import Rows, rows_of
from uer_ds.plan.timing import Time, update_time

MARGIN = 0.1
"""Share of a device's memory that stays free, for what no formula knows."""

ALLOCATOR = {"cpu": 1.15, "gpu": 1.05}
"""What a process holds for what is alive. CPU: glibc keeps freed pieces; 1.11 was measured (bench/memory.py
--as_it_is). GPU: pieces that fit nowhere; a guess."""

WORTH = 1.02
"""A larger micro-batch than the run asks for is taken where it is so much faster."""

EQUAL = 0.9
"""Ways whose speeds differ less are taken for equally fast: the formulas know nothing of the time that each message and
each of stage 3's many small steps takes."""

LARGEST = 2**14
"""Rows of a micro-batch that no search goes beyond."""

WAYS = ((0, False), (1, False), (2, False), (2, True), (3, False), (3, True))
"""Stage and offloading of the files in `ds_configs/`."""


@dataclass(frozen=True)
class Plan:
    """What is planned: the run's model (without weights), rows, engine and update."""

    run: RunConfig
    model: Model
    subject: Subject
    division: Division
    rows: Rows
    update_rows: int | None
    """Rows of an update on one process; None: one micro-batch, whatever its size."""


@dataclass(frozen=True)
class Choice:
    """One way; `batch_size`: the largest micro-batch that fits, 0: not even one row. `memory` and `time` are those of
    `rows` in a micro-batch: that of the options, or `batch_size` where only that fits or the same run is faster so."""

    division: Division
    recompute: int
    rows: int
    batch_size: int
    memory: Memory
    time: Time

    @property
    def engine(self) -> str:
        """The name of the DeepSpeed JSON under `ds_configs/`."""
        name = f"zero{self.division.stage}" + ("_offload" if self.division.offload else "")
        return name + ("_bf16" if self.division.low_precision else "")


def plan_of(run: RunConfig, processes: int, device: str, document_tokens: int | None = None) -> Plan:
    """The plan of `run` on `processes` processes with a "cpu" or a "gpu" each."""
    model, train = build_shapes(run.model), run.train
    recompute = train.deepspeed_checkpoint_layers_num if train.deepspeed_checkpoint_activations else 0
    readers = max(1, run.sharing.readers(processes))
    update_rows = train.global_batch_size // readers if train.global_batch_size else None
    accumulation = train.accumulation_steps or 1
    subject = Subject(run.model, count_parameters(model), run.optim.optimizer, device, recompute, accumulation)
    return Plan(run, model, subject, division_of(run.engine, processes), rows_of(run, document_tokens), update_rows)


def choices(plan: Plan, cluster: Cluster) -> Iterator[Choice]:
    """All ways, with and without recomputation where a model has layers that can be; on CPUs nothing is offloaded."""
    layers = plan.run.train.deepspeed_checkpoint_layers_num
    transformer = "transformer" in (plan.run.model.encoder, plan.run.model.decoder)
    for stage, offload in WAYS:
        if offload and cluster.device.kind == "cpu":
            continue
        for recompute in (0, layers) if transformer else (0,):
            yield choice(plan, plan.division.at(stage, offload), recompute, cluster)


def choice(plan: Plan, division: Division, recompute: int, cluster: Cluster) -> Choice:
    """One way."""
    plan = replace(plan, subject=replace(plan.subject, recompute=recompute), division=division)
    room = (1 - MARGIN) * cluster.device.memory_gb * 1e9
    largest = largest_batch(plan, room)
    rows = max(1, min(plan.rows.rows, largest))
    time = _time(plan, rows, cluster)
    if plan.update_rows and largest > rows:  # the same run in larger pieces, of which each is communicated once
        faster = _time(plan, largest, cluster)
        if faster.tokens_per_second > WORTH * time.tokens_per_second:
            rows, time = largest, faster
    return Choice(division, recompute, rows, largest, need(plan, rows), time)


def _time(plan: Plan, rows: int, cluster: Cluster) -> Time:
    return update_time(for_rows(plan, rows), plan.model, plan.division, plan.rows.of(rows), cluster)


def for_rows(plan: Plan, rows: int) -> Subject:
    """The subject with as many micro-batches of `rows` as make an update."""
    if plan.update_rows is None:
        return plan.subject
    return replace(plan.subject, accumulation=max(1, plan.update_rows // rows))


def largest_batch(plan: Plan, room: float) -> int:
    """The largest micro-batch whose memory is at most `room` bytes; 0: not even one row.

    A divisor of this process's rows of an update where --global_batch_size says how many they are, else a power of two.
    """

    return max((rows for rows in sizes(plan.update_rows) if fits(plan, rows, room)), default=0)


def fits(plan: Plan, rows: int, room: float) -> bool:
    """Whether a micro-batch of `rows` takes at most `room` bytes."""
    return need(plan, rows).total * ALLOCATOR[plan.subject.device] <= room


def need(plan: Plan, rows: int) -> Memory:
    """The highest memory of a process with micro-batches of `rows`."""
    return peak(for_rows(plan, rows), plan.division, plan.rows.of(rows))


def sizes(update_rows: int | None, wish: int = 0) -> Iterable[int]:
    """Micro-batches to choose from; `wish`: one more, where nothing must be divided."""
    if update_rows is None:
        return (*(2**power for power in range(LARGEST.bit_length())), *([wish] if wish else []))
    return tuple(rows for rows in range(1, min(update_rows, LARGEST) + 1) if update_rows % rows == 0)


def best(found: Iterable[Choice]) -> Choice | None:
    """The least stage among those that fit and are about as fast as the fastest. None: nothing fits."""
    fitting = [one for one in found if one.batch_size]
    fastest = max((one.time.tokens_per_second for one in fitting), default=0.0)
    near = [one for one in fitting if one.time.tokens_per_second >= EQUAL * fastest]
    return min(near, key=lambda one: (one.division.stage, one.division.offload, one.recompute), default=None)
