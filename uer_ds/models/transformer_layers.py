"""The layers of transformer stacks, pre- or post-normed, and how a model JSON describes them.

B rows, S source tokens, T target tokens, H width of the layers, A heads.
"""

from __future__ import annotations

from torch import Tensor, nn

from uer_ds.config.model import ModelConfig
from uer_ds.models.attention import MultiHeadedAttention, ResidualAttention
from uer_ds.models.dropout import dropout
from uer_ds.models.layers import FeedForward, build_norm
from uer_ds.models.visibility import Visibility


class TransformerLayer(nn.Module):
    """Self-attention and feed-forward, each with a residual sum and a norm behind (post) or before (pre) it."""

    def __init__(
        self,
        self_attn: MultiHeadedAttention,
        feed_forward: FeedForward,
        norms: tuple[nn.Module, nn.Module],
        dropout: float,
        pre_norm: bool = False,
    ):
        super().__init__()
        self.self_attn = self_attn
        self.layer_norm_1 = norms[0]
        self.feed_forward = feed_forward
        self.layer_norm_2 = norms[1]
        self.dropout = dropout
        self.pre_norm = pre_norm

    def forward(
        self, hidden: Tensor, bias: Tensor | None, rotation: Tensor | None, *, visibility: Visibility
    ) -> Tensor:
        """[B, S, H] -> [B, S, H]"""
        x = self.layer_norm_1(hidden) if self.pre_norm else hidden
        return self.finish(hidden, self.self_attn(x, x, bias, rotation, visibility=visibility))

    def finish(self, hidden: Tensor, attended: Tensor) -> Tensor:
        """What follows attention: [B, S, H] that came in and what attention made of it -> [B, S, H]"""
        hidden = hidden + dropout(attended, self.dropout, self.training)
        if self.pre_norm:
            inner = self.feed_forward(self.layer_norm_2(hidden))
            return hidden + dropout(inner, self.dropout, self.training)
        hidden = self.layer_norm_1(hidden)
        inner = self.feed_forward(hidden)
        return self.layer_norm_2(hidden + dropout(inner, self.dropout, self.training))


class ResidualTransformerLayer(TransformerLayer):
    """A layer that reads the attention scores of the layer before and hands on its own."""

    def forward(  # type: ignore[override]
        self,
        hidden: Tensor,
        scores: Tensor | None,
        bias: Tensor | None,
        rotation: Tensor | None,
        *,
        visibility: Visibility,
    ) -> tuple[Tensor, Tensor]:
        """[B, S, H], [B, A, S, S] -> [B, S, H], [B, A, S, S]"""
        x = self.layer_norm_1(hidden) if self.pre_norm else hidden
        attended, scores = self.self_attn(x, scores, bias, rotation, visibility=visibility)
        assert scores is not None
        return self.finish(hidden, attended), scores


class TransformerDecoderLayer(nn.Module):
    """Self-attention, attention to the encoder's output ("memory"), feed-forward."""

    def __init__(
        self,
        self_attn: MultiHeadedAttention,
        context_attn: MultiHeadedAttention,
        feed_forward: FeedForward,
        norms: tuple[nn.Module, nn.Module, nn.Module],
        dropout: float,
        pre_norm: bool = False,
    ):
        super().__init__()
        self.self_attn = self_attn
        self.layer_norm_1 = norms[0]
        self.context_attn = context_attn
        self.layer_norm_2 = norms[1]
        self.feed_forward = feed_forward
        self.layer_norm_3 = norms[2]
        self.dropout = dropout
        self.pre_norm = pre_norm

    def forward(
        self,
        hidden: Tensor,
        memory: Tensor,
        bias: Tensor | None,
        rotation: Tensor | None,
        *,
        visibility: Visibility,
        memory_visibility: Visibility,
    ) -> Tensor:
        """[B, T, H], [B, S, H] -> [B, T, H]"""
        x = self.layer_norm_1(hidden) if self.pre_norm else hidden
        hidden = self._add(hidden, self.self_attn(x, x, bias, rotation, visibility=visibility), self.layer_norm_1)
        x = self.layer_norm_2(hidden) if self.pre_norm else hidden
        return self.finish(hidden, self.context_attn(x, memory, visibility=memory_visibility))

    def finish(self, hidden: Tensor, attended: Tensor) -> Tensor:
        """What follows attention to the encoder: as in `TransformerLayer`."""
        hidden = self._add(hidden, attended, self.layer_norm_2)
        x = self.layer_norm_3(hidden) if self.pre_norm else hidden
        return self._add(hidden, self.feed_forward(x), self.layer_norm_3)

    def _add(self, hidden: Tensor, branch: Tensor, norm: nn.Module) -> Tensor:
        total = hidden + dropout(branch, self.dropout, self.training)
        return total if self.pre_norm else norm(total)


def layer_norm(config: ModelConfig) -> nn.Module:
    assert config.hidden_size is not None
    return build_norm(config.layernorm, config.hidden_size, config.layernorm_eps)


def _attention(config: ModelConfig, kind: type[MultiHeadedAttention] = MultiHeadedAttention) -> MultiHeadedAttention:
    assert config.hidden_size is not None and config.heads_num is not None
    return kind(
        config.hidden_size,
        config.heads_num,
        config.head_size,
        config.dropout,
        config.local_kv_heads_num,
        bias=not config.remove_transformer_bias,
        scaled=not config.remove_attention_scale,
    )


def _feed_forward(config: ModelConfig) -> FeedForward:
    assert config.hidden_size is not None and config.feedforward_size is not None
    return FeedForward(
        config.hidden_size,
        config.feedforward_size,
        config.hidden_act,
        gated=config.feed_forward == "gated",
        bias=not config.remove_transformer_bias,
    )


def encoder_layer(config: ModelConfig) -> TransformerLayer:
    norms = (layer_norm(config), layer_norm(config))
    pre_norm = config.layernorm_positioning == "pre"
    return TransformerLayer(_attention(config), _feed_forward(config), norms, config.dropout, pre_norm)


def residual_layer(config: ModelConfig) -> TransformerLayer:
    norms = (layer_norm(config), layer_norm(config))
    pre_norm = config.layernorm_positioning == "pre"
    attention = _attention(config, ResidualAttention)
    return ResidualTransformerLayer(attention, _feed_forward(config), norms, config.dropout, pre_norm)


def decoder_layer(config: ModelConfig) -> TransformerDecoderLayer:
    norms = (layer_norm(config), layer_norm(config), layer_norm(config))
    pre_norm = config.layernorm_positioning == "pre"
    return TransformerDecoderLayer(
        _attention(config), _attention(config), _feed_forward(config), norms, config.dropout, pre_norm
    )
