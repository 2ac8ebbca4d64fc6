"""How rows are cut for attention on the CPU: documents of about the same length side by side, in blocks of some heads.

Attention inside documents costs the sum of their squared lengths instead of the squared length of the rows. A plan is
made once for a forward pass and serves all layers. N queries (or keys) in all rows, A heads, g documents in a group or
block and a heads in a block, Q and K tokens of the longest query and key document there. The *lines* of [B, S, A, D]
are its vectors of width D: N * A of them, those of a token one behind the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from uer_ds.models.masks import see_something, visible_keys

MIN_FILL = 0.6
"""Share of a group's area that each of its documents fills at least."""

SMALL_AREA = 32 * 32
"""Documents up to this area (queries x keys) go together however short they are."""


@dataclass(frozen=True)
class Group:
    """Documents that are computed together.

    Attributes:
        queries: [g, Q] int64, places in the flattened rows; N (no place) behind the end of a document.
        keys: [g, K] int64, likewise.
        scores: [g or 1, Q or 1, K] float32, 0 or -inf, added to the scores; None: everything is visible.
        ragged: True when some places are N.
    """

    queries: Tensor
    keys: Tensor
    scores: Tensor | None
    ragged: bool


@dataclass(frozen=True)
class Block:
    """Some documents and heads of a group.

    Attributes:
        heads: which of the A heads.
        queries: [g, a, Q] int64, lines; where `real` says no, any.
        keys: [g, a, K] int64, likewise.
        real: [g, 1, Q, 1] bool, whether a document has this query; None: all have.
        scores: [g or 1, 1, Q or 1, K] float32, 0 or -inf; None: everything is visible.
    """

    heads: slice
    queries: Tensor
    keys: Tensor
    real: Tensor | None
    scores: Tensor | None


@dataclass(frozen=True)
class Blocks:
    """All blocks of a plan for a number of heads, and the way back from what they give.

    `query_places` and `key_places`, [N * A] int64: for each line of the rows its number among the lines of all blocks,
    taken one behind the other; lines in no block get the number behind the last.
    """

    blocks: list[Block]
    query_places: Tensor
    key_places: Tensor


class Plan:
    """The groups of a forward pass."""

    def __init__(self, groups: list[Group], queries_num: int, keys_num: int):
        """`queries_num` and `keys_num`: N of the queries and of the keys."""
        self.groups = groups
        self._numbers = (queries_num, keys_num)
        self._made: dict[tuple[int, int], Blocks] = {}

    def blocks(self, heads: int, scores: int) -> Blocks:
        """Blocks of at most so many `scores`, or of one head of one document; made once."""
        if (heads, scores) not in self._made:
            self._made[heads, scores] = self._cut(heads, scores)
        return self._made[heads, scores]

    def _cut(self, heads: int, scores: int) -> Blocks:
        blocks = []
        for group in self.groups:
            area = group.queries.size(1) * group.keys.size(1)
            some_heads = max(1, min(heads, scores // area))
            some_members = max(1, scores // (area * heads))
            for start in range(0, len(group.queries), some_members):
                for head in range(0, heads, some_heads):
                    members = slice(start, start + some_members)
                    blocks.append(self._block(group, members, slice(head, min(head + some_heads, heads)), heads))
        queries = _way_back([(block.queries, block.real) for block, _ in blocks], self._numbers[0] * heads)
        keys = _way_back([(block.keys, real) for block, real in blocks], self._numbers[1] * heads)
        return Blocks([block for block, _ in blocks], queries, keys)

    def _block(self, group: Group, members: slice, head: slice, heads: int) -> tuple[Block, Tensor | None]:
        """The block, and [g, 1, K, 1] bool, whether a document has this key."""
        numbers = torch.arange(head.start, head.stop)[None, :, None]
        lines, real = [], list[Tensor | None]()
        for places, limit in zip((group.queries[members], group.keys[members]), self._numbers, strict=True):
            here = places < limit  # [g, Q] or [g, K]
            lines.append(places.clamp(max=limit - 1)[:, None, :] * heads + numbers)
            real.append(here[:, None, :, None] if group.ragged else None)
        hidden = group.scores
        if hidden is not None:
            hidden = (hidden if len(hidden) == 1 else hidden[members]).unsqueeze(1)
        return Block(head, lines[0], lines[1], real[0], hidden), real[1]


def _way_back(lines: list[tuple[Tensor, Tensor | None]], count: int) -> Tensor:
    """Lines of each block [g, a, Q] and which of them are real [g, 1, Q, 1] -> [count]; see `Blocks`."""
    total = sum(found.numel() for found, _ in lines)
    places = torch.full((count,), total)
    start = 0
    for found, real in lines:
        numbers = torch.arange(start, start + found.numel())
        flat = found.flatten()
        if real is not None:
            kept = real.squeeze(-1).expand_as(found).flatten()
            flat, numbers = flat[kept], numbers[kept]
        places[flat] = numbers
        start += found.numel()
    return places


Packed = tuple[Tensor, Tensor]
"""Segments and documents of packed rows, [B, S] each."""


def plan(kind: str, queries: Packed, keys: Packed) -> Plan:
    """The plan of all documents in packed rows, padding left out; `kind` as in `Visibility`.

    Documents of queries and keys belong together by row and number; in self-attention both are the same.
    """
    key_spans = _spans(*keys)
    query_spans = key_spans if queries[0] is keys[0] else _spans(*queries)
    pairs = [(start, length, *key_spans.get(name, (0, 0))) for name, (start, length) in query_spans.items()]
    groups = [_group(kind, members, keys[0], queries[0].numel()) for members in _similar(pairs)]
    return Plan(groups, queries[0].numel(), keys[0].numel())


def whole_rows(shape: tuple[int, ...], keys: int, visible: Tensor | None) -> Plan:
    """The plan of rows that hold one document each, padding and all.

    Args:
        shape: [B, Q] of the queries.
        keys: K.
        visible: [B or 1, 1, Q or 1, K] bool, or None.
    """
    rows, queries = shape
    places = torch.arange(rows * max(queries, keys))
    scores = None if visible is None else _additive(visible.squeeze(1))
    group = Group(places[: rows * queries].view(rows, -1), places[: rows * keys].view(rows, -1), scores, False)
    return Plan([group], rows * queries, rows * keys)


def _spans(segments: Tensor, documents: Tensor) -> dict[tuple[int, int], tuple[int, int]]:
    """(row, document) -> (first place in the flattened rows, number of tokens); padding belongs to no document."""
    width = segments.size(1)
    numbers = torch.where(segments > 0, documents, -1)
    begins = torch.ones_like(numbers, dtype=torch.bool)
    begins[:, 1:] = numbers[:, 1:] != numbers[:, :-1]
    starts = begins.flatten().nonzero().squeeze(1)
    ends = torch.cat((starts[1:], starts.new_tensor([numbers.numel()])))
    found = zip(starts.tolist(), ends.tolist(), numbers.flatten()[starts].tolist(), strict=True)
    return {(start // width, number): (start, end - start) for start, end, number in found if number >= 0}


Pair = tuple[int, int, int, int]
"""First query place, query tokens, first key place, key tokens."""


def _similar(pairs: list[Pair]) -> Iterator[list[Pair]]:
    """Runs of documents of similar area, largest first."""
    members: list[Pair] = []
    longest_query = longest_key = 0
    for pair in sorted(pairs, key=lambda pair: pair[1] * pair[3], reverse=True):
        height, width = max(longest_query, pair[1]), max(longest_key, pair[3])
        area = height * width
        if members and area > SMALL_AREA and pair[1] * pair[3] < MIN_FILL * area:
            yield members
            members, height, width = [], pair[1], pair[3]
        members.append(pair)
        longest_query, longest_key = height, width
    if members:
        yield members


def _group(kind: str, members: list[Pair], key_segments: Tensor, nowhere: int) -> Group:
    query_starts, query_lengths, key_starts, key_lengths = torch.tensor(members).unbind(1)
    queries = _places(query_starts, query_lengths, nowhere)
    keys = _places(key_starts, key_lengths, key_segments.numel())
    inside = keys < key_segments.numel()
    flat = torch.cat((key_segments.flatten(), key_segments.new_zeros(1)))
    segments = flat[keys]  # [g, K]
    ragged = bool((query_lengths < queries.size(1)).any() or not inside.all())
    if kind == "fully_visible" and not ragged:
        return Group(queries, keys, None, ragged)
    seen = visible_keys(kind, segments, queries.size(1))
    return Group(queries, keys, _additive(see_something(seen)), ragged)


def _places(starts: Tensor, lengths: Tensor, nowhere: int) -> Tensor:
    """[g] -> [g, longest]: start, start + 1, ... and `nowhere` behind the end."""
    steps = torch.arange(int(lengths.max()))
    return torch.where(steps < lengths[:, None], starts[:, None] + steps, nowhere)


def _additive(visible: Tensor) -> Tensor:
    return torch.zeros(visible.shape).masked_fill_(~visible, -torch.inf)
