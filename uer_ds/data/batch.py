"""`Batch`: what a model reads; `Terms`: what it answers.

B rows (sequences) in a micro-batch, S source tokens a row, T target tokens a row. Nothing here knows a model or a rank.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

IGNORE = -100
"""The label of a position that is not predicted. Every vocabulary id, 0 too, is an ordinary label."""

Terms = dict[str, tuple[Tensor, Tensor]]
"""Name -> (sum, count), both scalars; names begin with `loss_` or `accuracy_`. Plain containers, so that DeepSpeed's
hooks find the tensors. A mean is formed once, at the end, over all micro-batches and ranks: sum of sums / sum of
counts."""


@dataclass(frozen=True)
class Known:
    """What the host knows of a batch, so that nobody asks the device that holds it: that would stop both.

    Attributes:
        labels: label name -> how many predictions enter its loss.
        tokens: real tokens that the model reads.
        documents: documents of the fullest row, the decoder's rows among them; 0: one document a row.
        lengths: tokens of the documents of the source, row by row, padding counting as one document; empty: one a row.
    """

    labels: Mapping[str, int]
    tokens: int
    documents: int = 0
    lengths: tuple[int, ...] = ()


@dataclass(frozen=True)
class Batch:
    """One micro-batch of named tensors; another one is made of it by `dataclasses.replace`, with `known` as None.

    Attributes:
        ids: [B, S] int64, source token ids.
        segments: [B, S] int64; 0 padding, 1 first segment (or prefix), 2 second segment (or answer).
        positions: [B, S] int64, each token's position inside its document; None: 0 .. S-1 in every row.
        documents: [B, S] int64, number of the token's document within its row, ascending from 0; attention never
            crosses documents. None: one document a row (then only padding is invisible).
        labels: by name. "mlm", "lm": [B, S] ([B, T] with a decoder), `IGNORE` where nothing is predicted;
            "bilm_forward", "bilm_backward": [B, S]; "sp", "cls": [B] class numbers.
        decoder: the decoder's input (ids [B, T] shifted right, segments, positions, documents), no labels of its own.
            A decoder document d reads source document d of the same row.
        second: the second stream of a dual model.
        known: what `look` found when the tensors were still on the host.
    """

    ids: Tensor
    segments: Tensor
    positions: Tensor | None = None
    documents: Tensor | None = None
    labels: Mapping[str, Tensor] = dataclasses.field(default_factory=dict)
    decoder: Batch | None = None
    second: Batch | None = None
    known: Known | None = None

    def map(self, function: Callable[[Tensor], Tensor]) -> Batch:
        """A batch with `function` applied to every tensor."""
        return dataclasses.replace(
            self,
            ids=function(self.ids),
            segments=function(self.segments),
            positions=None if self.positions is None else function(self.positions),
            documents=None if self.documents is None else function(self.documents),
            labels={name: function(labels) for name, labels in self.labels.items()},
            decoder=self.decoder.map(function) if self.decoder else None,
            second=self.second.map(function) if self.second else None,
            known=None,
        )

    def trimmed(self, multiple: int) -> Batch:
        """Without the columns at the end that are padding in every row; so many stay that `multiple` divides them.

        A batch with a second stream, and labels of whole rows, are left as they are.
        """
        if self.second is not None:
            return self
        decoder = self.decoder.trimmed(multiple) if self.decoder else None
        real = (self.segments > 0).any(0).nonzero()
        longest = int(real[-1]) + 1 if len(real) else 1
        width = min(-(-longest // multiple) * multiple, self.ids.size(1))
        labelled = decoder.ids.size(1) if decoder else width
        labels = {name: labels[:, :labelled] if labels.ndim > 1 else labels for name, labels in self.labels.items()}
        narrow = dataclasses.replace(self._columns(0, width), labels=labels, decoder=decoder)
        return narrow.map(Tensor.contiguous)

    def part(self, number: int, count: int) -> Batch:
        """Columns `number` x S / `count` and on of every row, S / `count` of them; for a batch without decoder.

        Labels of a whole row stay with part 0, which holds the first token.
        """
        length = self.ids.size(1)
        assert length % count == 0 and self.decoder is None and self.second is None
        begin, end = number * length // count, (number + 1) * length // count

        def own(labels: Tensor) -> Tensor:
            if labels.ndim == 1:
                return labels if number == 0 else torch.full_like(labels, IGNORE)
            return labels[:, begin:end]

        positions = torch.arange(length).expand_as(self.ids) if self.positions is None else self.positions
        part = dataclasses.replace(
            self._columns(begin, end),
            positions=positions[:, begin:end],
            labels={name: own(labels) for name, labels in self.labels.items()},
        )
        documents = _most_documents(self)  # attention sees whole rows
        return dataclasses.replace(part, known=Known(part.label_counts(), part.token_count(), documents))

    def _columns(self, begin: int, end: int) -> Batch:
        """The source cut to these columns; labels and decoder are left for the caller to cut."""
        return dataclasses.replace(
            self,
            ids=self.ids[:, begin:end],
            segments=self.segments[:, begin:end],
            positions=None if self.positions is None else self.positions[:, begin:end],
            documents=None if self.documents is None else self.documents[:, begin:end],
            known=None,
        )

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """The same batch on another device."""
        leaves = self.ids.device.type == "cpu" and torch.device(device).type != "cpu"
        moved = self.map(lambda tensor: tensor.to(device, non_blocking=non_blocking))
        return dataclasses.replace(moved, known=self.look() if leaves else self.known)

    def pin_memory(self) -> Batch:
        """The same batch in page-locked memory, from which copies to a GPU overlap with work."""
        return dataclasses.replace(self.map(lambda tensor: tensor.pin_memory()), known=self.look())

    def look(self) -> Known:
        """What is known of the batch; looked up where it has not been."""
        return self.known or Known(
            labels=self.label_counts(),
            tokens=self.token_count(),
            documents=_most_documents(self, self.decoder),
            lengths=() if self.documents is None else document_lengths(self.segments, self.documents),
        )

    def label_counts(self) -> Mapping[str, int]:
        """Label name -> how many predictions enter its loss: all real numbers, and integers other than `IGNORE`.

        Equals the count that the model returns for `loss_<name>`.
        """
        if self.known:
            return self.known.labels
        return {
            name: labels.numel() if labels.is_floating_point() else int((labels != IGNORE).sum())
            for name, labels in self.labels.items()
        }

    def token_count(self) -> int:
        """Real tokens that the model reads: source, decoder and second stream, padding not counted."""
        if self.known:
            return self.known.tokens
        return sum(int((part.segments > 0).sum()) for part in (self, self.decoder, self.second) if part)


def _most_documents(*parts: Batch | None) -> int:
    packed = [part.documents for part in parts if part is not None and part.documents is not None]
    return max((int(documents.max()) + 1 for documents in packed), default=0)


def document_lengths(segments: Tensor, documents: Tensor) -> tuple[int, ...]:
    """Tokens of each document of packed rows [B, S], row by row; padding between or behind them counts as one."""
    starts = document_begins(segments, documents).flatten().nonzero().squeeze(1)
    return tuple(starts.diff(append=starts.new_tensor([documents.numel()])).tolist())


def document_begins(segments: Tensor, documents: Tensor) -> Tensor:
    """[B, S] bool, where a document of packed rows or their padding begins."""
    marks = torch.stack((documents, segments > 0))  # [2, B, S]
    begins = torch.ones_like(documents, dtype=torch.bool)
    begins[:, 1:] = (marks[:, :, 1:] != marks[:, :, :-1]).any(0)
    return begins


def padded(rows: Sequence[Sequence[int]]) -> Batch:
    """Token ids of one segment each, [B, S] with S the longest; shorter rows are padded behind their ends."""
    width = max(map(len, rows))
    ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows])
    lengths = torch.tensor([len(row) for row in rows])
    return Batch(ids, (torch.arange(width) < lengths[:, None]).long())
