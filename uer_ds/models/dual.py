"""Two streams: a pair of texts through a pair of models, which share their weights when tied (SBERT, siamese LSTM).

B rows, S tokens, E width of the embedding, H width of the layers.
"""

from __future__ import annotations

from torch import Tensor, nn

from uer_ds.config.model import ModelConfig
from uer_ds.models.dropout import dropout
from uer_ds.models.embeddings import Embedding, build_embedding
from uer_ds.models.layers import build_norm, centred
from uer_ds.registry import ENCODERS

Tokens = tuple[Tensor, Tensor, Tensor | None]
"""ids [B, S], segments [B, S], positions [B, S] or None."""


def streams(config: ModelConfig) -> tuple[ModelConfig, ModelConfig]:
    """The configurations of both streams, with the vocabulary of the whole model."""
    assert config.stream_0 is not None and config.stream_1 is not None
    vocab_size = config.vocab_size
    return config.stream_0.replace(vocab_size=vocab_size), config.stream_1.replace(vocab_size=vocab_size)


class DualEmbedding(nn.Module):
    """An embedding for each stream. The norm of its own that each stream has besides is UER-py's, and never shared."""

    def __init__(
        self, embeddings: tuple[Embedding, Embedding], norms: tuple[nn.Module | None, nn.Module | None], dropout: float
    ):
        super().__init__()
        self.embedding_0, self.embedding_1 = embeddings
        self.stream_0_layer_norm, self.stream_1_layer_norm = norms
        self.dropout = dropout

    @classmethod
    def from_config(cls, config: ModelConfig) -> DualEmbedding:
        """Both streams; tied where `tie_weights` says so."""
        pair = streams(config)
        embeddings = [
            build_embedding(stream.replace(dropout=0.0), stream.embedding, config.vocab_size or 0) for stream in pair
        ]
        if config.tie_weights:
            share_parameters(embeddings[1], embeddings[0])
        return cls((embeddings[0], embeddings[1]), (_norm(pair[0]), _norm(pair[1])), config.dropout)

    def forward(self, *pair: Tokens) -> tuple[Tensor, ...]:
        """One or two texts -> [B, S, E] each."""
        return tuple(self._embed(number, *tokens) for number, tokens in enumerate(pair))

    def _embed(self, number: int, ids: Tensor, segments: Tensor, positions: Tensor | None) -> Tensor:
        embedded = self.get_submodule(f"embedding_{number}")(ids, segments, positions)
        norm = getattr(self, f"stream_{number}_layer_norm")
        if norm is not None:
            embedded = norm(embedded)
        return dropout(embedded, self.dropout, self.training)


class DualEncoder(nn.Module):
    """An encoder for each stream."""

    def __init__(self, encoder_0: nn.Module, encoder_1: nn.Module):
        super().__init__()
        self.encoder_0 = encoder_0
        self.encoder_1 = encoder_1

    @classmethod
    def from_config(cls, config: ModelConfig) -> DualEncoder:
        """Both streams; tied where `tie_weights` says so."""
        encoders = [ENCODERS[stream.encoder].from_config(stream) for stream in streams(config)]
        if config.tie_weights:
            share_parameters(encoders[1], encoders[0])
        return cls(encoders[0], encoders[1])

    def forward(self, *pair: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
        """One or two (embedded [B, S, E], segments [B, S]) -> [B, S, H] each."""
        encoders = (self.encoder_0, self.encoder_1)
        return tuple(encoder(*stream) for encoder, stream in zip(encoders, pair, strict=False))


def share_parameters(module: nn.Module, source: nn.Module) -> None:
    """Let `module` use the parameters of `source`, a module of the same structure."""
    for name, parameter in source.named_parameters():
        owner, _, last = name.rpartition(".")
        setattr(module.get_submodule(owner), last, parameter)


def _norm(stream: ModelConfig) -> nn.Module | None:
    if stream.remove_embedding_layernorm:
        return None
    assert stream.emb_size is not None
    return build_norm(centred(stream.layernorm), stream.emb_size, stream.layernorm_eps)
