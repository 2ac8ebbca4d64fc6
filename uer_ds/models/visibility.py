"""Who sees whom in attention: a description, and what the kernels make of it (once for a forward pass).

B rows, Q queries, K keys (equal in self-attention, then S), A heads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from uer_ds.models.attention_plan import Plan, plan, whole_rows
from uer_ds.models.masks import see_something, visible_keys

Pair = tuple[Tensor, Tensor]
"""Keys and values of a layer, [B, K, heads, width] each."""


@dataclass(frozen=True)
class Visibility:
    """Which keys each query sees.

    Attributes:
        kind: "fully_visible": keys that are not padding; "causal": keys that are not to the right (padding lies to the
            right of all tokens, so it needs no rule of its own); "causal_with_prefix": keys of segment 1, and other
            tokens that are not to the right.
        segments: [B, K], segment of each key, 0 for padding.
        documents: [B, K] or None, document number of each key; queries see their own document only.
        query_segments, query_documents: [B, Q], the same of the queries, where they are not the keys (a decoder that
            reads its encoder); None: they are.
        most: documents of the fullest row, of queries or keys; None: `bounds` asks the device.

    A query that would see nothing (a row of padding) sees everything, as in UER-py.
    """

    kind: str
    segments: Tensor
    documents: Tensor | None = None
    query_segments: Tensor | None = None
    query_documents: Tensor | None = None
    most: int | None = None

    def keys_and_values(self, make: Callable[[], Pair]) -> Pair:
        """The keys and values that queries see: what `make` computes, unless tokens were read before (`past`)."""
        return make()

    @property
    def is_plain_causal(self) -> bool:
        """True when the order of the positions alone decides, so kernels need no mask."""
        return self.kind == "causal" and self.documents is None

    @property
    def mask(self) -> Tensor | None:
        """[B, 1, Q or 1, K] bool, True where the query sees the key; None: nothing is hidden, or `is_plain_causal`."""
        if self.is_plain_causal or self.nothing_hidden:
            return None
        return self.visible

    def hide(self, bias: Tensor) -> Tensor:
        """Scores or a bias [1 or B, A, Q, K] with -inf where the query does not see the key: [1 or B, A, Q, K]."""
        return bias if self.nothing_hidden else bias.masked_fill(~self.visible, -torch.inf)

    @cached_property
    def nothing_hidden(self) -> bool:
        """Looked up on the CPU only: on an accelerator the question would cost more than a needless mask."""
        if self.kind != "fully_visible" or self.segments.device.type != "cpu":
            return False
        if not bool((self.segments > 0).all()):
            return False
        if self.documents is None:
            return True
        queries = self.documents if self.query_documents is None else self.query_documents
        first = self.documents[:, :1]
        return bool((self.documents == first).all() and (queries == first).all())

    @cached_property
    def visible(self) -> Tensor:
        """[B or 1, 1, Q or 1, K] bool, the whole truth."""
        seen = visible_keys(self.kind, self.segments, self.segments.size(1))
        if self.documents is not None:
            queries = self.documents if self.query_documents is None else self.query_documents
            seen = seen & (queries[:, :, None] == self.documents[:, None, :])
        return see_something(seen).unsqueeze(1)

    @cached_property
    def bounds(self) -> tuple[Tensor, Tensor]:
        """Where the documents of packed rows begin, for queries and for keys: [N + 1] int32 each, N documents.

        Places in the flattened rows, the end of all last. Every row counts as many documents as the fullest one, empty
        ones too, and behind them its padding as one more; so document n of the queries reads document n of the keys.
        Padding must lie behind the documents of its row.
        """
        assert self.documents is not None
        pairs = [(self.segments, self.documents)]
        if self.query_segments is not None and self.query_documents is not None:
            pairs.insert(0, (self.query_segments, self.query_documents))
        padding = self.most
        if padding is None:
            padding = 1 + int(torch.stack([documents.max() for _, documents in pairs]).max())
        bounds = [_bounds(segments, documents, padding) for segments, documents in pairs]
        return bounds[0], bounds[-1]

    @cached_property
    def plan(self) -> Plan:
        """The plan of attention on the CPU."""
        queries = self.segments if self.query_segments is None else self.query_segments
        if self.documents is None or self.nothing_hidden:
            return whole_rows(queries.shape, self.segments.size(1), None if self.nothing_hidden else self.visible)
        query_documents = self.documents if self.query_documents is None else self.query_documents
        return plan(self.kind, (queries, query_documents), (self.segments, self.documents))


def _bounds(segments: Tensor, documents: Tensor, padding: int) -> Tensor:
    """[B, S] twice -> [B * (padding + 1) + 1] int32; `padding` is the number that padding gets among the documents."""
    numbers = torch.where(segments > 0, documents, padding)
    slots = torch.arange(padding + 1, device=documents.device).expand(len(numbers), -1).contiguous()
    begins = torch.searchsorted(numbers, slots)  # [B, padding + 1]
    begins = begins + torch.arange(len(numbers), device=documents.device)[:, None] * numbers.size(1)
    return F.pad(begins.flatten(), (0, 1), value=numbers.numel()).to(torch.int32)
