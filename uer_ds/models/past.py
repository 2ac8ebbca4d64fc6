"""What a model has read, so that the next token costs one token and not the whole row again.

An encoder or decoder makes a past of its own kind (`new_past`) and is called with it: first for whole prompts of equal
length, then for one token a row. Pasts of prompts of other lengths are joined. B rows, K tokens read so far, G
key/value heads, D width of a head, H width of the layers, k kernel size.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from uer_ds.models.visibility import Pair, Visibility


class Past(ABC):
    """Of some rows."""

    @abstractmethod
    def select(self, rows: Tensor) -> None:
        """Keep `rows` [B'] int64 of the rows, in that order; one may stand several times (beams)."""

    @abstractmethod
    def join(self, others: Sequence[Past], capacity: int) -> None:
        """Take in the rows of `others`, behind its own, with room for `capacity` tokens altogether."""


class AttentionPast(Past):
    """Keys and values of every layer, in the order in which layers ask.

    Rows end in the same place; shorter ones begin later, and their empty places belong to segment 0.
    """

    def __init__(self, capacity: int):
        self.capacity = capacity
        self.length = 0
        self.segments: Tensor | None = None  # [B, K]
        self._buffers: list[Pair] = []  # [B, capacity, G, D] each
        self._layer = 0

    def visibility(self, kind: str, segments: Tensor) -> Visibility:
        """Who sees whom when tokens of `segments` [B, Q] are read: all of `kind` at first, then one a row."""
        self._layer = 0
        first = self.segments is None
        self.segments = segments if self.segments is None else torch.cat((self.segments, segments), dim=1)
        self.length = self.segments.size(1)
        if first:
            return _Remembered(kind, segments, past=self)
        assert segments.size(1) == 1, "after the prompt tokens are read one by one"
        return _Remembered("fully_visible", self.segments, query_segments=segments, past=self)

    def extended(self, key: Tensor, value: Tensor) -> Pair:
        """Keys and values [B, K, G, D] of the layer that asks, with those [B, Q, G, D] of what is read now behind."""
        start = self.length - key.size(1)
        if self._layer == len(self._buffers):
            shape = (len(key), max(self.capacity, self.length), *key.shape[2:])
            self._buffers.append((key.new_zeros(shape), value.new_zeros(shape)))
        buffers = self._buffers[self._layer]
        self._layer += 1
        for buffer, new in zip(buffers, (key, value), strict=True):
            buffer[:, start : self.length] = new
        return buffers[0][:, : self.length], buffers[1][:, : self.length]

    def select(self, rows: Tensor) -> None:
        """See `Past`."""
        assert self.segments is not None
        self.segments = self.segments[rows]
        self._buffers = [(key[rows], value[rows]) for key, value in self._buffers]

    def join(self, others: Sequence[Past], capacity: int) -> None:
        """See `Past`."""
        pasts = [self, *(other for other in others if isinstance(other, AttentionPast))]
        longest = max(past.length for past in pasts)
        layers = zip(*(past._buffers for past in pasts), strict=True)
        self._buffers = [
            (
                torch.cat([_ending_at(longest, capacity, p.length, k) for p, (k, _) in zip(pasts, layer, strict=True)]),
                torch.cat([_ending_at(longest, capacity, p.length, v) for p, (_, v) in zip(pasts, layer, strict=True)]),
            )
            for layer in layers
        ]
        segments = [past.segments for past in pasts if past.segments is not None]
        self.segments = torch.cat([F.pad(each, (longest - each.size(1), 0)) for each in segments])
        self.length, self.capacity = longest, capacity


def _ending_at(place: int, capacity: int, length: int, buffer: Tensor) -> Tensor:
    """The first `length` tokens of `buffer` [B, *, G, D] in a new one [B, capacity, G, D], before `place`."""
    moved = buffer.new_zeros(len(buffer), capacity, *buffer.shape[2:])
    moved[:, place - length : place] = buffer[:, :length]
    return moved


@dataclass(frozen=True)
class _Remembered(Visibility):
    """Where layers find the keys of what was read before."""

    past: AttentionPast | None = None

    def keys_and_values(self, make: Callable[[], Pair]) -> Pair:
        """Made of what is read now, behind the older ones."""
        assert self.past is not None
        return self.past.extended(*make())


class SourcePast(Past):
    """Keys and values that a decoder makes of its encoder's output, once for each layer."""

    def __init__(self) -> None:
        self._pairs: list[Pair] = []
        self._layer = 0

    def visibility(self, memory_segments: Tensor, segments: Tensor) -> Visibility:
        """The decoder's tokens [B, Q] read the source [B, S]."""
        self._layer = 0
        return _Kept("fully_visible", memory_segments, query_segments=segments, past=self)

    def kept(self, make: Callable[[], Pair]) -> Pair:
        """Of the layer that asks: [B, S, G, D] each."""
        if self._layer == len(self._pairs):
            self._pairs.append(make())
        self._layer += 1
        return self._pairs[self._layer - 1]

    def select(self, rows: Tensor) -> None:
        """See `Past`."""
        self._pairs = [(key[rows], value[rows]) for key, value in self._pairs]

    def join(self, others: Sequence[Past], capacity: int) -> None:
        """Sources are padded and read together, so there is nothing to join."""
        raise NotImplementedError


@dataclass(frozen=True)
class _Kept(Visibility):
    past: SourcePast | None = None

    def keys_and_values(self, make: Callable[[], Pair]) -> Pair:
        """Made at the first token only."""
        assert self.past is not None
        return self.past.kept(make)


class DecoderPast(Past):
    """Of a decoder: what it has written, and the source that it reads."""

    def __init__(self, capacity: int):
        self.own = AttentionPast(capacity)
        self.source = SourcePast()

    def select(self, rows: Tensor) -> None:
        """See `Past`."""
        self.own.select(rows)
        self.source.select(rows)

    def join(self, others: Sequence[Past], capacity: int) -> None:
        """All rows begin with one token, so there is nothing to join."""
        raise NotImplementedError


class StatePast(Past):
    """The states of recurrent layers: tensors [L, B, H]."""

    def __init__(self) -> None:
        self.state: tuple[Tensor, ...] | None = None

    def select(self, rows: Tensor) -> None:
        """See `Past`."""
        assert self.state is not None
        self.state = tuple(part[:, rows].contiguous() for part in self.state)

    def join(self, others: Sequence[Past], capacity: int) -> None:
        """See `Past`."""
        states = [past.state for past in (self, *others) if isinstance(past, StatePast) and past.state is not None]
        self.state = tuple(torch.cat(parts, dim=1) for parts in zip(*states, strict=True))


class WindowPast(Past):
    """What each convolution saw last: tensors [B, C, k - 1, W], in the order in which layers ask."""

    def __init__(self, kernel_size: int):
        self._before = kernel_size - 1
        self._windows: list[Tensor] = []
        self._layer = 0

    def begin(self) -> None:
        """Before the first layer asks."""
        self._layer = 0

    def extended(self, x: Tensor) -> Tensor:
        """`x` [B, C, Q, W] of the layer that asks behind the k - 1 tokens before it, zeros where there were none."""
        if self._layer == len(self._windows):
            self._windows.append(x.new_zeros(*x.shape[:2], self._before, x.size(3)))
        whole = torch.cat((self._windows[self._layer], x), dim=2)
        self._windows[self._layer] = whole[:, :, whole.size(2) - self._before :]
        self._layer += 1
        return whole

    def select(self, rows: Tensor) -> None:
        """See `Past`."""
        self._windows = [window[rows] for window in self._windows]

    def join(self, others: Sequence[Past], capacity: int) -> None:
        """See `Past`."""
        pasts = [self, *(other for other in others if isinstance(other, WindowPast))]
        self._windows = [torch.cat(parts) for parts in zip(*(past._windows for past in pasts), strict=True)]
