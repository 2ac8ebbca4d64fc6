"""Vectors of sentences: the encoder's output pooled, whitened if asked for. N texts, B rows, H width, K directions.

Whitening: Su et al., "Whitening sentence representations for better semantics and faster retrieval", 2021; as UER-py
does it, vectors have length 1 afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from uer_ds.data.batch import padded
from uer_ds.errors import UserError
from uer_ds.models.model import Model
from uer_ds.models.pooling import pool
from uer_ds.tools.rows import Row

Vectors = NDArray[np.float32]

RANK = 1e-7
"""A direction whose variance is less, relative to the widest one's, is rounding."""


def sentence_vectors(model: Model) -> Callable[[list[Row]], list[Vectors]]:
    """What turns rows into vectors [H], pooled as the model's configuration says."""

    @torch.no_grad()
    def answer(rows: list[Row]) -> list[Vectors]:
        batch = padded([row.ids for row in rows]).to(next(model.parameters()).device)
        vectors = pool(model.encode(batch), batch.segments, model.config.pooling)
        return list(vectors.float().cpu().numpy())

    return answer


@dataclass(frozen=True)
class Whitening:
    """x -> (x - mean) directions, then length 1: mean [H], directions [H, K], both float64."""

    mean: NDArray[np.float64]
    directions: NDArray[np.float64]

    @classmethod
    def fit(cls, blocks: Iterable[Vectors], size: int) -> Whitening:
        """From vectors [n, H], some at a time: the widest `size` directions, each with variance 1.

        Raises UserError where so many directions are not there.
        """
        count, total, squares = 0, np.float64(0), np.float64(0)
        shift: NDArray[np.float64] | None = None  # near the mean, so that squares do not cancel
        for block in blocks:
            shift = block[:1].astype(np.float64) if shift is None else shift
            some = block - shift
            count, total, squares = count + len(some), total + some.sum(0), squares + some.T @ some
        if shift is None or count < 2:
            raise UserError(f"--whitening_size {size}: the text has {count} lines; whitening needs at least 2.")
        mean = total / count
        covariance = (squares - count * np.outer(mean, mean)) / (count - 1)
        wide, variances, _ = np.linalg.svd(covariance)
        found = int((variances > RANK * variances[0]).sum())
        if size > found:
            raise UserError(
                f"--whitening_size {size}: vectors of {len(mean)} numbers from {count} lines have {found} directions; "
                f"give at most {found}, or more text."
            )
        return cls(shift[0] + mean, wide[:, :size] / np.sqrt(variances[:size]))

    def __call__(self, vectors: Vectors) -> Vectors:
        """[n, H] -> [n, K] of length 1."""
        found = (vectors - self.mean) @ self.directions
        lengths = np.linalg.norm(found, axis=1, keepdims=True)
        return (found / np.maximum(lengths, np.finfo(np.float64).tiny)).astype(np.float32)

    def save(self, path: Path) -> None:
        """As a numpy archive with `mean` and `directions`."""
        with path.open("wb") as file:
            np.savez(file, mean=self.mean, directions=self.directions)

    @classmethod
    def load(cls, path: Path, width: int) -> Whitening:
        """What `save` has written. Raises UserError for another file, or one for vectors of another width."""
        try:
            with np.load(path) as archive:
                found = cls(archive["mean"], archive["directions"])
        except (OSError, ValueError, KeyError) as error:
            raise UserError(
                f"{path}: cannot be read as a whitening that --whitening_output wrote ({error})."
            ) from error
        if found.mean.shape != (width,) or found.directions.ndim != 2 or found.directions.shape[0] != width:
            raise UserError(
                f"{path}: is for vectors of {found.mean.size} numbers, the model's have {width}; fit another."
            )
        return found
