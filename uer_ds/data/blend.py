"""`Blend`: samples of several datasets in given shares; `StaticSamples`: the same few versions of every sample again;
`RowParts`: a part of every row.

All are objectives made of objectives, as deterministic as those: no state but the epoch and the sample number.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from uer_ds.data.batch import IGNORE, Batch
from uer_ds.data.permutation import permute
from uer_ds.data.samples import Ints, Objective, make_batch, require_samples
from uer_ds.errors import UserError


class Blend(Objective):
    """One objective over several datasets.

    An epoch is as long as those of the parts together. Part c gives exactly its share of it, `weights[c]` / sum of
    weights; without weights that is each of its samples once. A part goes through all its samples, in an order of its
    own, before it repeats one; a small part with a large weight goes through several of its epochs in one of ours.
    """

    def __init__(self, parts: Sequence[Objective], weights: Sequence[float], seed: int):
        self.spec, self.dataset = parts[0].spec, parts[0].dataset
        self.notes = tuple(note for part in parts for note in part.notes)
        self._parts, self._seed = parts, seed
        sizes = np.array([len(part) for part in parts], dtype=np.int64)
        shares = np.asarray(weights if len(weights) else sizes, dtype=np.float64)
        if (shares < 0).any() or not shares.any():
            raise UserError(f"--dataset_weights is {list(weights)}; expected numbers from 0 up, not all of them 0.")
        for part, share in zip(parts, shares, strict=True):
            if share > 0:
                require_samples(part)
        self._sizes = sizes
        self._counts = apportion(shares, int(sizes.sum()))  # samples of each part in an epoch
        self._ends = np.cumsum(self._counts)
        self.lengths = self._lengths_of_parts if all(part.lengths for part in parts) else None

    def __len__(self) -> int:
        return int(self._ends[-1])

    def batch(self, epochs: Ints, numbers: Ints) -> Batch:
        """The samples `numbers` [B], each from the part whose range it is in."""
        batches, rows = [], []
        for part, places, own_epochs, own_numbers in self.origins(epochs, numbers):
            batches.append(make_batch(part, own_epochs, own_numbers))
            rows.append(places)
        return merge(batches, torch.from_numpy(np.argsort(np.concatenate(rows))))

    def _lengths_of_parts(self, epochs: Ints, numbers: Ints) -> Ints:
        lengths = np.zeros(len(numbers), dtype=np.int64)
        for part, places, own_epochs, own_numbers in self.origins(epochs, numbers):
            assert part.lengths
            lengths[places] = part.lengths(own_epochs, own_numbers)
        return lengths

    def origins(self, epochs: Ints, numbers: Ints) -> Iterator[tuple[Objective, Ints, Ints, Ints]]:
        """Where the samples come from: each part with the places of its samples, its own epochs and its own numbers."""
        owners = np.searchsorted(self._ends, numbers, side="right")
        for c in np.unique(owners).tolist():
            mine = np.flatnonzero(owners == c)
            drawn = epochs[mine] * self._counts[c] + numbers[mine] - (self._ends[c] - self._counts[c])
            own_epochs, indices = np.divmod(drawn, self._sizes[c])
            yield self._parts[c], mine, own_epochs, permute(indices, int(self._sizes[c]), self._seed + c, own_epochs)


class RowParts(Objective):
    """Part `number` of `count` of every row of `objective`, for processes that share rows."""

    def __init__(self, objective: Objective, number: int, count: int):
        self.spec, self.dataset, self.notes = objective.spec, objective.dataset, objective.notes
        self._objective, self._part = objective, (number, count)

    def __len__(self) -> int:
        return len(self._objective)

    def batch(self, epochs: Ints, numbers: Ints) -> Batch:
        """Our columns of the samples `numbers` [B]."""
        return self._objective.batch(epochs, numbers).part(*self._part)


class StaticSamples(Objective):
    """Static masking: `copies` versions of every sample (UER-py's dup_factor), used in turn epoch after epoch."""

    def __init__(self, objective: Objective, copies: int):
        self.spec, self.dataset = objective.spec, objective.dataset
        self.notes, self.lengths = objective.notes, objective.lengths
        self._objective, self._copies = objective, copies

    def __len__(self) -> int:
        return len(self._objective)

    def batch(self, epochs: Ints, numbers: Ints) -> Batch:
        """The samples `numbers` as they are in epoch `epochs` modulo the number of copies."""
        return self._objective.batch(epochs % self._copies, numbers)


def apportion(shares: NDArray[np.float64], total: int) -> Ints:
    """Whole numbers in proportion to `shares` that add up to `total` (largest remainders)."""
    exact = shares / shares.sum() * total
    counts = np.floor(exact).astype(np.int64)
    order = np.argsort(counts - exact, kind="stable")
    counts[order[: total - int(counts.sum())]] += 1
    return counts


def merge(batches: Sequence[Batch], order: Tensor) -> Batch:
    """The rows of several batches under each other, then taken in `order`; narrower ones are padded."""
    decoders = [batch.decoder for batch in batches if batch.decoder is not None]
    positions = [batch.positions for batch in batches if batch.positions is not None]
    documents = [_with_pads(batch) for batch in batches if batch.documents is not None]
    names = batches[0].labels
    return Batch(
        ids=_stack([batch.ids for batch in batches], 0)[order],
        segments=_stack([batch.segments for batch in batches], 0)[order],
        positions=_stack(positions, 0)[order] if positions else None,
        documents=_continued(documents)[order] if documents else None,
        labels={name: _stack([batch.labels[name] for batch in batches], IGNORE)[order] for name in names},
        decoder=merge(decoders, order) if decoders else None,
    )


def _stack(tensors: Sequence[Tensor], fill: int) -> Tensor:
    """[B] or [B, S] tensors under each other, padded on the right with `fill`."""
    width = tensors[0].dim() > 1 and max(tensor.shape[1] for tensor in tensors)
    if not width:
        return torch.cat(list(tensors))
    return torch.cat([torch.nn.functional.pad(t, (0, width - t.shape[1]), value=fill) for t in tensors])


def _with_pads(batch: Batch) -> Tensor:
    """Document numbers with one more column, which holds the number that padding has or would have."""
    assert batch.documents is not None
    following = batch.documents[:, -1:] + (batch.segments[:, -1:] > 0)
    return torch.cat([batch.documents, following], dim=1)


def _continued(tensors: Sequence[Tensor]) -> Tensor:
    """Tensors of `_with_pads` under each other, their last columns repeated as needed and then dropped."""
    width = max(tensor.shape[1] for tensor in tensors)
    wide = [torch.cat([t, t[:, -1:].expand(-1, width - t.shape[1])], dim=1) for t in tensors]
    return torch.cat(wide)[:, :-1]
