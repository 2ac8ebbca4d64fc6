"""The documents of packed rows, and for models that read from left to right each of them as a sequence of its own.

Recurrent and convolutional encoders carry what they have read along; at the beginning of a document they must know
nothing. So documents are laid out one a row, padded behind their ends, encoded, and put back. B rows, S tokens, D
documents, M tokens of the longest one.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from uer_ds.data.batch import Batch, Known, document_begins, document_lengths


@dataclass(frozen=True)
class Documents:
    """Which document each token belongs to.

    Attributes:
        numbers: [B, S] int64; see `Batch`.
        known: what the host knows of the batch; None: whoever must know more asks the device.
    """

    numbers: Tensor
    known: Known | None = None

    @classmethod
    def of(cls, part: Batch, batch: Batch) -> Documents | None:
        """Of `part`, which is `batch` or its decoder; None: one document a row."""
        return None if part.documents is None else cls(part.documents, batch.known)

    @property
    def most(self) -> int | None:
        """Documents of the fullest row, where the host knows."""
        return self.known.documents if self.known else None


@dataclass(frozen=True)
class Layout:
    """Where the tokens of packed rows go.

    Attributes:
        shape: (D, M).
        places: [B * S], place of each token in the flattened [D, M].
        lengths: [D], tokens of each document, on the CPU.
    """

    shape: tuple[int, int]
    places: Tensor
    lengths: Tensor

    def split(self, rows: Tensor) -> Tensor:
        """[B, S, E] -> [D, M, E], zeros behind the ends of documents."""
        flat = rows.flatten(0, 1)
        documents = flat.new_zeros(self.shape[0] * self.shape[1], flat.size(1))
        return documents.index_copy(0, self.places, flat).unflatten(0, self.shape)

    def join(self, documents: Tensor, rows: int) -> Tensor:
        """[D, M, H] -> [B, S, H] with `rows` = B."""
        return documents.flatten(0, 1)[self.places].unflatten(0, (rows, -1))


def layouts(segments: Tensor, documents: Documents) -> tuple[Layout, Layout]:
    """The layout of packed rows with segments [B, S], and the one in which each document stands back to front.

    Padding between or behind documents counts as a document.
    """
    known = documents.known.lengths if documents.known else document_lengths(segments, documents.numbers)
    count, longest = len(known), max(known)
    number = document_begins(segments, documents.numbers).flatten().cumsum(0) - 1  # [B * S], of the token's document
    lengths = torch.zeros(count, dtype=torch.long, device=number.device).index_add_(0, number, torch.ones_like(number))
    offsets = torch.arange(len(number), device=number.device) - (lengths.cumsum(0) - lengths)[number]
    mirrored = lengths[number] - 1 - offsets
    first = number * longest
    here = torch.tensor(known)
    return Layout((count, longest), first + offsets, here), Layout((count, longest), first + mirrored, here)
