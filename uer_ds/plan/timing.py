"""Seconds of an update: products, communication that the products do not hide, the optimizer.

Products: model FLOPs (`uer_ds.models.flops`) over efficiency times peak; recomputation runs the layers' forward pass
once more. Communication of B bytes over N nodes of g processes goes in two levels, inside a node and between nodes:

    reduce-scatter or all-gather:  (g - 1) / g x B / node bandwidth  +  (N - 1) / N x B / network bandwidth
    all-reduce:                    both

(rings; between nodes each process moves its part, B / g, and all g share the node's adapter). Volumes are those of
Rajbhandari et al. 2020, section 7, but as DeepSpeed 0.19 moves them: stages 0 to 2 all-reduce gradients, 1 and 2 gather
what was updated; stage 3 gathers weights in the forward and in the backward pass and scatters gradients, for every
micro-batch. Where DeepSpeed overlaps (`overlap_comm`, stage 3), communication hides behind the pass that it belongs to;
on the CPU nothing hides. The optimizer reads and writes its state at the speed of the memory that holds it.
"""

from __future__ import annotations

from dataclasses import dataclass

from uer_ds.models.flops import BACKWARD, training_flops
from uer_ds.models.model import Model
from uer_ds.plan.cluster import HOST_LINK_GB, HOST_MEMORY_GB, Cluster
from uer_ds.plan.division import FULL, Division
from uer_ds.plan.memory import MOMENTS, Subject
from uer_ds.plan.rows import Rows, work_of_rows

PASSES = 2
"""Times that an optimizer moves each byte of its state: read, written."""


@dataclass(frozen=True)
class Time:
    """Seconds of an update: products, communication that is waited for, optimizer; `tokens` of all processes."""

    compute: float
    communication: float
    optimizer: float
    tokens: float

    @property
    def seconds(self) -> float:
        """Of the whole update."""
        return self.compute + self.communication + self.optimizer

    @property
    def tokens_per_second(self) -> float:
        """Of all processes together."""
        return self.tokens / self.seconds


def update_time(subject: Subject, model: Model, division: Division, rows: Rows, cluster: Cluster) -> Time:
    """One update of `subject.accumulation` micro-batches of `rows` on every process; `model` may be on meta."""
    work = work_of_rows(rows, subject.model.mask, subject.model.target)
    products = training_flops(model, work) / cluster.flops(division.width)
    forward, backward = products / (1 + BACKWARD), products * BACKWARD / (1 + BACKWARD)
    again = forward if subject.recompute else 0.0
    return Time(
        (products + again) * subject.accumulation,
        _waited(subject, division, cluster, forward, backward + again),
        _optimizer(subject, division, cluster),
        float(rows.tokens * subject.accumulation * cluster.processes),
    )


def one_way(count: float, cluster: Cluster) -> float:
    """Seconds of gathering `count` bytes on all processes, or of scattering sums of them."""
    g, n = cluster.per_node, cluster.nodes
    inside = (g - 1) / g * count / (cluster.device.node_bandwidth_gb * 1e9)
    return inside + (n - 1) / n * count / (cluster.device.network_bandwidth_gb * 1e9)


def _waited(subject: Subject, division: Division, cluster: Cluster, forward: float, backward: float) -> float:
    """Communication of an update that no products hide."""
    once, repeats = one_way(division.width * subject.parameters, cluster), subject.accumulation
    hides = division.overlap and cluster.device.kind != "cpu"

    def rest(seconds: float, behind: float) -> float:
        return max(0.0, seconds - behind) if hides else seconds

    if division.stage == 3:  # gather; gather and scatter
        return repeats * (rest(once, forward) + rest(2 * once, backward))
    # DeepSpeed sums gradients by an all-reduce, two ways, although a process needs its part only.
    if division.stage == 2:  # for each micro-batch; gather after the update
        return repeats * rest(2 * once, backward) + once
    return (3 if division.stage == 1 else 2) * once


def _optimizer(subject: Subject, division: Division, cluster: Cluster) -> float:
    """Its state and gradients through the memory that holds them; with offloading over the link to the host, too."""
    share = subject.parameters / (division.processes if division.stage else 1)
    state = share * (PASSES * (MOMENTS[subject.optimizer] + FULL) + FULL)
    if not division.offload:
        return state / (cluster.device.memory_bandwidth_gb * 1e9)
    moved = 2 * share * division.width / (HOST_LINK_GB * 1e9)
    return moved + state * cluster.per_node / (HOST_MEMORY_GB * 1e9)
