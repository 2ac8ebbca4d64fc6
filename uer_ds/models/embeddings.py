"""Embeddings: parts that are summed, then normed, then dropped out.

A part is a module that maps (ids, segments, positions) to vectors; the registry finds it by its name in the model JSON.
B rows, S tokens, E width of the embedding, V vocabulary, P rows of the position table.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from uer_ds.config.model import ModelConfig
from uer_ds.errors import UserError
from uer_ds.models.dropout import dropout
from uer_ds.models.layers import Table, build_norm, centred
from uer_ds.models.positions import sinusoids
from uer_ds.registry import EMBEDDINGS

SEGMENTS_NUM = 3
"""Padding, first segment, second segment."""


class Embedding(nn.Module):
    """The sum of `parts`, with layer norm (unless None) and dropout."""

    def __init__(self, parts: Mapping[str, nn.Module], norm: nn.Module | None, dropout: float):
        super().__init__()
        if norm is not None:
            self.layer_norm = norm
        # parts with weights first: their type is that of the sum
        self.part_names = sorted(parts, key=lambda name: next(parts[name].parameters(), None) is None)
        for name, part in parts.items():
            self.add_module(name, part)
        self.dropout = dropout

    def forward(self, ids: Tensor, segments: Tensor, positions: Tensor | None = None) -> Tensor:
        """[B, S] int64 each -> [B, S, E]; `positions` None: 0 .. S-1 in every row."""
        total: Tensor | None = None
        for name in self.part_names:
            part = self.get_submodule(name)(ids, segments, positions)  # [B or 1, S, E]
            total = part if total is None else total + part.to(total.dtype)
        assert total is not None
        if hasattr(self, "layer_norm"):
            total = self.layer_norm(total)
        return dropout(total, self.dropout, self.training)


class WordEmbedding(nn.Module):
    """A vector for each token id, times `scale`."""

    def __init__(self, vocab_size: int, emb_size: int, scale: float = 1.0):
        super().__init__()
        self.embedding = Table(vocab_size, emb_size)
        self.scale = scale

    @classmethod
    def from_config(cls, config: ModelConfig, parts: tuple[str, ...], vocab_size: int) -> WordEmbedding:
        """Words beside sinusoidal positions are scaled up, since those have length sqrt(E / 2) from the start."""
        assert config.emb_size is not None
        scale = math.sqrt(config.emb_size) if "sinusoidalpos" in parts else 1.0
        return cls(vocab_size, config.emb_size, scale)

    def forward(self, ids: Tensor, segments: Tensor, positions: Tensor | None) -> Tensor:
        """-> [B, S, E]"""
        words = self.embedding(ids)
        return words if self.scale == 1.0 else words * self.scale


class PositionEmbedding(nn.Module):
    """A learned vector for each position."""

    def __init__(self, max_seq_length: int, emb_size: int):
        super().__init__()
        self.embedding = Table(max_seq_length, emb_size)

    @classmethod
    def from_config(cls, config: ModelConfig, parts: tuple[str, ...], vocab_size: int) -> PositionEmbedding:
        """P rows."""
        assert config.emb_size is not None
        return cls(config.max_seq_length, config.emb_size)

    def forward(self, ids: Tensor, segments: Tensor, positions: Tensor | None) -> Tensor:
        """-> [1 or B, S, E]; without `positions`, rows longer than the table are a UserError."""
        if positions is None:
            if ids.size(1) > self.embedding.num_embeddings:
                raise UserError(
                    f"rows of {ids.size(1)} tokens are longer than the position table (max_seq_length "
                    f"{self.embedding.num_embeddings}); shorten the rows or use a model with a longer table."
                )
            positions = torch.arange(ids.size(1), device=ids.device).unsqueeze(0)
        return self.embedding(positions)


class SegmentEmbedding(nn.Module):
    """A learned vector for each segment; row 0 belongs to padding and is trained like any other."""

    def __init__(self, emb_size: int):
        super().__init__()
        self.embedding = Table(SEGMENTS_NUM, emb_size)

    @classmethod
    def from_config(cls, config: ModelConfig, parts: tuple[str, ...], vocab_size: int) -> SegmentEmbedding:
        """Three rows."""
        assert config.emb_size is not None
        return cls(config.emb_size)

    def forward(self, ids: Tensor, segments: Tensor, positions: Tensor | None) -> Tensor:
        """-> [B, S, E]"""
        return self.embedding(segments)


class SinusoidalEmbedding(nn.Module):
    """Fixed sines and cosines of the position; no parameters.

    Three tables exist in the wild, chosen by `layout` (half = E / 2, i = 0 .. half - 1):

    * "uer": today's UER-py; angle (p + 2) * 10000^(-i / (half - 1)), sine and cosine alternate, padding gets zeros.
    * "interleaved": UER-py of 2021 (files with `embedding.pe`); angle p * 10000^(-i / half), sine and cosine alternate.
    * "halves": Marian and Pegasus of Hugging Face; the same angles, all sines first, then all cosines.
    """

    def __init__(self, emb_size: int, layout: str = "uer"):
        super().__init__()
        self.emb_size = emb_size
        self.layout = layout

    @classmethod
    def from_config(cls, config: ModelConfig, parts: tuple[str, ...], vocab_size: int) -> SinusoidalEmbedding:
        """The layout that the model JSON names."""
        assert config.emb_size is not None
        return cls(config.emb_size, config.sinusoidal_layout)

    def forward(self, ids: Tensor, segments: Tensor, positions: Tensor | None) -> Tensor:
        """-> [1 or B, S, E] float32"""
        if positions is None:
            positions = torch.arange(ids.size(1), device=ids.device).unsqueeze(0)
        vectors = sinusoids(positions, self.emb_size, self.layout)
        return vectors * (segments > 0).unsqueeze(-1) if self.layout == "uer" else vectors


def build_embedding(config: ModelConfig, parts: tuple[str, ...], vocab_size: int) -> Embedding:
    """The embedding that sums `parts` (names in the registry)."""
    assert config.emb_size is not None
    norm = None
    if not config.remove_embedding_layernorm:
        norm = build_norm(centred(config.layernorm), config.emb_size, config.layernorm_eps)
    modules = {name: EMBEDDINGS[name].from_config(config, parts, vocab_size) for name in parts}
    return Embedding(modules, norm, config.dropout)
