"""Targets: the heads that turn hidden vectors and labels into sums and counts.

A target names the labels it reads (`label_names`) and answers, for each of them, with (summed loss, right
predictions, count), float32 scalars. Positions without a label cost nothing. B rows, S tokens, H width of the
layers, E width of the embedding, V vocabulary, C classes, N predicted positions.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from uer_ds.config.model import ModelConfig
from uer_ds.data.batch import IGNORE
from uer_ds.models.labels import Labels
from uer_ds.models.layers import ACTIVATIONS, Linear, build_norm, centred
from uer_ds.models.pooling import pool
from uer_ds.models.vocabulary import VocabularyLinear

Sums = tuple[Tensor, Tensor, Tensor]
"""Summed loss, right predictions, count."""

PAIR_CLASSES = 2


class MlmTarget(nn.Module):
    """Masked language model: a dense layer, a norm, then the vocabulary (often tied to the word table)."""

    label_names = ("mlm",)

    def __init__(self, hidden_size: int, inner_size: int, vocab_size: int, activation: str, norm: nn.Module):
        super().__init__()
        self.linear_1 = Linear(hidden_size, inner_size)
        self.layer_norm = norm
        self.linear_2 = VocabularyLinear(inner_size, vocab_size)
        self.activation = ACTIVATIONS[activation]

    @classmethod
    def from_config(cls, config: ModelConfig, vocab_size: int) -> MlmTarget:
        """The inner width is E in factorised models, else H."""
        assert config.hidden_size is not None and config.emb_size is not None
        inner = config.emb_size if config.factorized_embedding_parameterization else config.hidden_size
        norm = build_norm(centred(config.layernorm), inner, config.layernorm_eps)
        return cls(config.hidden_size, inner, vocab_size, config.hidden_act, norm)

    def forward(self, hidden: Tensor, segments: Tensor, labels: Labels) -> tuple[Sums]:
        """[B, S, H], [B, S], labels [B, S] -> sums"""
        loss, correct = self.linear_2(self.inner(labels.select(hidden)), labels.wanted)
        return ((loss, correct, labels.number()),)

    def logits(self, hidden: Tensor, segments: Tensor) -> Tensor:
        """[B, S, H] -> [B, S, V]"""
        return self.linear_2(self.inner(hidden))

    def inner(self, hidden: Tensor) -> Tensor:
        """[.., H] -> [.., E or H], what the vocabulary matrix reads"""
        return self.layer_norm(self.activation(self.linear_1(hidden)))


class LmTarget(nn.Module):
    """Language model, and the head of every decoder: the vocabulary at once."""

    label_names: tuple[str, ...] = ("lm",)

    def __init__(self, hidden_size: int, vocab_size: int, bias: bool = False, label_smoothing: float = 0.0):
        super().__init__()
        self.output_layer = VocabularyLinear(hidden_size, vocab_size, bias)
        self.label_smoothing = label_smoothing

    @classmethod
    def from_config(cls, config: ModelConfig, vocab_size: int) -> LmTarget:
        """H -> V."""
        assert config.hidden_size is not None
        return cls(config.hidden_size, vocab_size, config.has_lmtarget_bias, config.label_smoothing)

    def forward(self, hidden: Tensor, segments: Tensor, labels: Labels) -> tuple[Sums, ...]:
        """[B, S, H], [B, S], labels [B, S] -> sums"""
        return (self._sums(hidden, labels),)

    def logits(self, hidden: Tensor, segments: Tensor) -> Tensor:
        """[B, S, H] -> [B, S, V]"""
        return self.output_layer(hidden)

    def _sums(self, hidden: Tensor, labels: Labels) -> Sums:
        loss, correct = self.output_layer(labels.select(hidden), labels.wanted, self.label_smoothing)
        return loss, correct, labels.number()


class BilmTarget(LmTarget):
    """ELMo's two language models: the left half of the vectors predicts forwards, the right half backwards."""

    label_names = ("bilm_forward", "bilm_backward")

    @classmethod
    def from_config(cls, config: ModelConfig, vocab_size: int) -> BilmTarget:
        """H / 2 -> V, one matrix for both directions."""
        assert config.hidden_size is not None
        return cls(config.hidden_size // 2, vocab_size, config.has_lmtarget_bias, config.label_smoothing)

    def forward(  # type: ignore[override]
        self, hidden: Tensor, segments: Tensor, forward_labels: Labels, backward_labels: Labels
    ) -> tuple[Sums, ...]:
        """[B, S, H], [B, S], labels [B, S] twice -> sums of both directions"""
        left, right = hidden.chunk(2, dim=-1)
        return self._sums(left, forward_labels), self._sums(right, backward_labels)

    def logits(self, hidden: Tensor, segments: Tensor) -> Tensor:
        """[B, S, H] -> [2, B, S, V]: forward, backward"""
        return self.output_layer(torch.stack(hidden.chunk(2, dim=-1)))


class SpTarget(nn.Module):
    """Sentence prediction (next sentence, sentence order) from the first token."""

    label_names = ("sp",)

    def __init__(self, hidden_size: int, labels_num: int = PAIR_CLASSES, pooling: str = "first"):
        super().__init__()
        self.linear_1 = Linear(hidden_size, hidden_size)
        self.linear_2 = Linear(hidden_size, labels_num)
        self.pooling = pooling

    @classmethod
    def from_config(cls, config: ModelConfig, vocab_size: int) -> SpTarget:
        """Two classes."""
        assert config.hidden_size is not None
        return cls(config.hidden_size)

    def forward(self, hidden: Tensor, segments: Tensor, labels: Labels) -> tuple[Sums]:
        """[B, S, H], [B, S], labels [B] -> sums"""
        logits = self.logits(hidden, segments).float()
        loss = F.cross_entropy(logits, labels.values, ignore_index=IGNORE, reduction="sum")
        correct = (logits.argmax(-1) == labels.values).sum().float()
        return ((loss, correct, labels.number()),)

    def logits(self, hidden: Tensor, segments: Tensor) -> Tensor:
        """[B, S, H], [B, S] -> [B, C]"""
        return self.linear_2(torch.tanh(self.linear_1(pool(hidden, segments, self.pooling))))


class ClsTarget(SpTarget):
    """Classification of a row."""

    label_names = ("cls",)

    @classmethod
    def from_config(cls, config: ModelConfig, vocab_size: int) -> ClsTarget:
        """`labels_num` classes from the pooled vector."""
        assert config.hidden_size is not None and config.labels_num is not None
        return cls(config.hidden_size, config.labels_num, config.pooling)
