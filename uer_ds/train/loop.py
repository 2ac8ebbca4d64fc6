"""The training loop: agree, compute, update; report, evaluate and save now and then.

The loss of an update is the sum over everything divided by the count over everything, across micro-batches and ranks:
label counts are added up before the first backward pass, so no rank needs to correct afterwards.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from uer_ds.config.sharing import ALONE, Sharing
from uer_ds.data.batch import Batch, Terms
from uer_ds.engine.engine import Engine
from uer_ds.engine.group import Group
from uer_ds.train.meter import Meter, add_terms
from uer_ds.train.stopping import UPDATE, StopWish


@dataclass
class Progress:
    """How far a run has come, over all ranks."""

    updates: int = 0
    samples: int = 0
    tokens: int = 0


@dataclass(frozen=True)
class Hooks:
    """What hangs on the loop from outside; each is called on every rank with the progress so far.

    `skipped` gets the losses of this rank's micro-batches, of an update that moved nothing.
    """

    skipped: Callable[[Progress, list[Tensor]], None]
    report: Callable[[Progress, float], None]
    evaluate: Callable[[Progress], None]
    save: Callable[[Progress], None]
    after_update: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Rhythm:
    """Updates between events; `evaluate` 0: never on the way."""

    total: int
    report: int
    evaluate: int
    save: int


@dataclass(frozen=True)
class Agreement:
    """What all ranks know before an update: labels by name, tokens and whether somebody wishes to stop."""

    counts: dict[str, float]
    tokens: int
    stop: bool


def agree(group: Group, micro_batches: list[Batch], wish: StopWish, sharing: Sharing = ALONE) -> Agreement:
    """One small all-reduce for all of it.

    Processes that share layers read the same tokens. Their labels are counted once for each process, on
    purpose: DeepSpeed averages gradients over groups of them.
    """
    counts = [batch.label_counts() for batch in micro_batches]
    names = list(counts[0])
    local = [float(sum(count[name] for count in counts)) for name in names]
    tokens = float(sum(batch.token_count() for batch in micro_batches))
    *labels, total_tokens, wishes = group.sum([*local, tokens, float(bool(wish))]).tolist()
    return Agreement(dict(zip(names, labels, strict=True)), int(total_tokens) // sharing.layers, wishes > 0)


def share_of_loss(terms: Terms, agreement: Agreement, world_size: int) -> Tensor:
    """This micro-batch's part of the update's loss, times `world_size` because DeepSpeed averages gradients over
    ranks."""
    parts = [
        total * (world_size / agreement.counts[name.removeprefix("loss_")])
        for name, (total, _) in terms.items()
        if name.startswith("loss_") and agreement.counts[name.removeprefix("loss_")]
    ]
    if not parts:  # no label anywhere: a zero that still runs every backward hook
        return sum((total for name, (total, _) in terms.items() if name.startswith("loss_")), torch.zeros(())) * 0.0
    return torch.stack(parts).sum()


def draw_seed(seed: int, update: int, micro_batch: int, rank: int) -> int:
    """The seed of one micro-batch's dropout: known without any saved generator state, so a resume repeats it."""
    digest = hashlib.blake2b(f"dropout/{seed}/{update}/{micro_batch}/{rank}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def run_update(
    engine: Engine,
    micro_batches: list[Batch],
    agreement: Agreement,
    group: Group,
    seed: int,
    update: int,
    sharing: Sharing = ALONE,
) -> tuple[Terms, list[Tensor]]:
    """Forward, backward and step of every micro-batch of one update; returns this rank's terms and its losses.

    Processes that share layers draw the same dropout, since they must agree on what they both hold.
    """
    total: Terms | None = None
    losses = []
    for number, batch in enumerate(micro_batches):
        torch.manual_seed(draw_seed(seed, update, number, group.place.rank // sharing.layers))
        terms = engine.forward(batch.to(engine.device, non_blocking=True))
        loss = share_of_loss(terms, agreement, group.place.world_size)
        losses.append(loss.detach())
        engine.backward_and_step(loss)
        total = add_terms(total, terms)
    assert total is not None
    return total, losses


def train(
    engine: Engine,
    updates: Iterable[list[Batch]],
    group: Group,
    progress: Progress,
    rhythm: Rhythm,
    learning_rate: Callable[[int], float],
    hooks: Hooks,
    meter: Meter,
    wish: StopWish,
    seed: int,
    sharing: Sharing = ALONE,
) -> bool:
    """Train from `progress` to the end; returns True when done, False when stopped early by a wish (after a save)."""
    readers = sharing.readers(group.place.world_size)
    engine.train(True)
    meter.start()
    for micro_batches in meter.waiting(updates):
        if progress.updates >= rhythm.total:
            break
        agreement = agree(group, micro_batches, wish, sharing)
        if agreement.stop:
            hooks.save(progress)
            return False
        began = time.monotonic()
        rate = learning_rate(progress.updates)
        engine.set_learning_rate(rate)
        terms, losses = run_update(engine, micro_batches, agreement, group, seed, progress.updates, sharing)
        if engine.skipped:
            hooks.skipped(progress, losses)
        meter.add(terms, agreement.tokens, engine.skipped)
        wish.note(UPDATE, time.monotonic() - began)
        progress.updates += 1
        progress.samples += readers * sum(len(batch.ids) for batch in micro_batches)
        progress.tokens += agreement.tokens
        _events(progress, rhythm, rate, hooks, meter)
    return True


def _events(progress: Progress, rhythm: Rhythm, rate: float, hooks: Hooks, meter: Meter) -> None:
    last = progress.updates == rhythm.total
    if last or progress.updates % rhythm.report == 0:
        hooks.report(progress, rate)
    began = time.perf_counter()
    hooks.after_update()
    if last or (rhythm.evaluate and progress.updates % rhythm.evaluate == 0):
        hooks.evaluate(progress)
    if last or progress.updates % rhythm.save == 0:
        hooks.save(progress)
    meter.pause(time.perf_counter() - began)
