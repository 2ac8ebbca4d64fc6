"""Packed rows for models that read from left to right: each document as a sequence of its own.

Recurrent and convolutional encoders carry what they have read along; at the beginning of a document they must know
nothing. So documents are laid out one a row, padded behind their ends, encoded, and put back. B rows, S tokens, D
documents, M tokens of the longest one.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """Where the tokens of packed rows go.

    Attributes:
        shape: (D, M).
        places: [B * S], place of each token in the flattened [D, M].
        lengths: [D], tokens of each document.
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


def layouts(segments: Tensor, documents: Tensor) -> tuple[Layout, Layout]:
    """The layout of packed rows, and the one in which each document stands back to front.

    Both arguments are [B, S]; padding between or behind documents counts as a document.
    """
    marks = torch.stack((documents, segments > 0))  # [2, B, S]
    begins = torch.ones_like(documents, dtype=torch.bool)
    begins[:, 1:] = (marks[:, :, 1:] != marks[:, :, :-1]).any(0)
    begins = begins.flatten()
    number = begins.cumsum(0) - 1  # [B * S], of the token's document
    starts = begins.nonzero().squeeze(1)  # [D]
    lengths = torch.bincount(number)  # [D]
    offsets = torch.arange(len(number), device=number.device) - starts[number]
    longest = int(lengths.max())
    shape = (len(lengths), longest)
    mirrored = lengths[number] - 1 - offsets
    first = number * longest
    return Layout(shape, first + offsets, lengths), Layout(shape, first + mirrored, lengths)
