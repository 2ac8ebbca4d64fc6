"""How packed rows are cut for attention on the CPU: documents of about the same length, side by side.

Attention inside documents costs the sum of their squared lengths instead of the squared length of the rows. A plan is
made once for a forward pass and serves all layers and heads. N queries in all rows, g documents in a group, Q and K
tokens of its longest query and key document.
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


Packed = tuple[Tensor, Tensor]
"""Segments and documents of packed rows, [B, S] each."""


def plan(kind: str, queries: Packed, keys: Packed) -> list[Group]:
    """Groups of all documents in packed rows, padding left out; `kind` as in `Visibility`.

    Documents of queries and keys belong together by row and number; in self-attention both are the same.
    """
    key_spans = _spans(*keys)
    query_spans = key_spans if queries[0] is keys[0] else _spans(*queries)
    pairs = [(start, length, *key_spans.get(name, (0, 0))) for name, (start, length) in query_spans.items()]
    return [_group(kind, members, keys[0], queries[0].numel()) for members in _similar(pairs)]


def whole_rows(shape: tuple[int, ...], keys: int, visible: Tensor | None) -> Group:
    """One group of rows that hold one document each, padding and all.

    Args:
        shape: [B, Q] of the queries.
        keys: K.
        visible: [B or 1, 1, Q or 1, K] bool, or None.
    """
    rows, queries = shape
    places = torch.arange(rows * max(queries, keys))
    scores = None if visible is None else _additive(visible.squeeze(1))
    return Group(places[: rows * queries].view(rows, -1), places[: rows * keys].view(rows, -1), scores, False)


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
