"""The transformer's stacks: encoder and decoder.

B rows, S source tokens, T target tokens, H width of the layers, E width of the embedding, A heads.
A stack makes position bias, rotation and visibility once and hands them to its layers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from uer_ds.config.model import ModelConfig
from uer_ds.errors import UserError
from uer_ds.models.attention import WholeRows, bias_for
from uer_ds.models.documents import Documents
from uer_ds.models.layers import Linear
from uer_ds.models.past import AttentionPast, DecoderPast
from uer_ds.models.positions import RelativePositionBias, rotation_angles
from uer_ds.models.transformer_layers import (
    ResidualTransformerLayer,
    TransformerDecoderLayer,
    TransformerLayer,
    decoder_layer,
    encoder_layer,
    layer_norm,
    residual_layer,
)
from uer_ds.models.visibility import Visibility


class Stack(nn.Module):
    """`depth` layers run one after another.

    `recompute_layers` above 0: activations are kept between pieces of so many layers only, and computed again in the
    backward pass. That costs a third more time and saves most of the memory; dropout draws the same both times.
    """

    depth: int
    recompute_layers: int = 0

    def run(
        self,
        layers: Sequence[nn.Module],
        state: tuple[Tensor | None, ...],
        *rest: Tensor | None,
        **visibility: Visibility,
    ) -> Tensor:
        """Feed `state` (what a layer changes, hidden vectors first) through `layers`; returns the last hidden vectors.

        `rest` are further tensors that every layer reads.
        """
        recompute = self.recompute_layers > 0 and self.training
        step = self.recompute_layers if recompute else len(layers)
        for start in range(0, len(layers), step):
            piece = partial(_run_piece, layers[start : start + step], visibility, len(state))
            state = checkpoint(piece, *state, *rest, use_reentrant=False) if recompute else piece(*state, *rest)
        hidden = state[0]
        assert hidden is not None
        return hidden


def _run_piece(
    layers: Sequence[nn.Module], visibility: dict[str, Visibility], width: int, *tensors: Tensor | None
) -> tuple[Tensor | None, ...]:
    """Some layers of a stack; `tensors` are its state, of length `width`, and the rest."""
    state, rest = tensors[:width], tensors[width:]
    for layer in layers:
        result = layer(*state, *rest, **visibility)
        state = result if isinstance(result, tuple) else (result,)
    return state


class TransformerEncoder(Stack):
    """Layers over the embedded source; `residual` layers hand on their attention scores.

    Args:
        layers: L layers, or the one layer that is used `layers_num` times (ALBERT).
        mask: kind of `Visibility`.
        projection: ALBERT's matrix from E to H, first of all.
        relative_pos_emb: position bias of all layers.
        final_norm: the norm behind pre-normed layers.
        rotary_size: head width where queries and keys are rotated by position; 0: they are not.
    """

    rows = WholeRows()

    def __init__(
        self,
        layers: list[TransformerLayer],
        layers_num: int,
        mask: str,
        projection: nn.Module | None = None,
        relative_pos_emb: RelativePositionBias | None = None,
        final_norm: nn.Module | None = None,
        rotary_size: int = 0,
    ):
        super().__init__()
        self.depth = layers_num
        self.mask = mask
        self.rotary_size = rotary_size
        self.residual = isinstance(layers[0], ResidualTransformerLayer)
        self.linear = projection
        self.transformer = nn.ModuleList(layers) if len(layers) == layers_num else layers[0]
        self.layer_norm = final_norm
        self.relative_pos_emb = relative_pos_emb

    @classmethod
    def from_config(cls, config: ModelConfig) -> TransformerEncoder:
        """The encoder that a model JSON describes."""
        assert config.hidden_size and config.emb_size and config.layers_num
        layer = residual_layer if config.has_residual_attention else encoder_layer
        layers = [layer(config) for _ in range(1 if config.parameter_sharing else config.layers_num)]
        projection = (
            Linear(config.emb_size, config.hidden_size) if config.factorized_embedding_parameterization else None
        )
        return cls(
            layers,
            config.layers_num,
            config.mask,
            projection,
            _position_bias(config, bidirectional=True),
            layer_norm(config) if config.layernorm_positioning == "pre" else None,
            config.head_size if config.rotary_position_embedding else 0,
        )

    def new_past(self, capacity: int) -> AttentionPast:
        """For `forward`, with room for so many tokens. Raises UserError where tokens see what follows them."""
        if self.mask == "fully_visible":
            raise UserError(
                "this model's mask is fully_visible, so a token would change what was read before it; it cannot "
                "continue a text."
            )
        return AttentionPast(capacity)

    def forward(
        self,
        embedded: Tensor,
        segments: Tensor,
        positions: Tensor | None = None,
        documents: Documents | None = None,
        past: AttentionPast | None = None,
    ) -> Tensor:
        """[B, S, E], [B, S] int64 each -> [B, S, H]; with a `past`, of tokens behind those in it."""
        hidden = embedded if self.linear is None else self.linear(embedded)
        segments = self.rows.whole(segments)
        if past:
            visibility = past.visibility(self.mask, segments)
        else:
            numbers = self.rows.whole(documents.numbers) if documents else None
            visibility = Visibility(self.mask, segments, numbers, most=documents.most if documents else None)
        bias = None
        if self.relative_pos_emb is not None:
            bias = self.relative_pos_emb(visibility.segments.size(1), hidden.device, segments.size(1))
            bias = bias_for(self.rows.own_heads(bias), visibility)
        rotation = _rotation(hidden, positions, self.rotary_size) if self.rotary_size else None
        layers = (
            list(self.transformer) if isinstance(self.transformer, nn.ModuleList) else [self.transformer] * self.depth
        )
        state = (hidden, None) if self.residual else (hidden,)
        hidden = self.run(layers, state, bias, rotation, visibility=visibility)
        return hidden if self.layer_norm is None else self.layer_norm(hidden)


class TransformerDecoder(Stack):
    """Layers over the embedded target; each reads the encoder's output too. Causal."""

    def __init__(
        self,
        layers: list[TransformerDecoderLayer],
        self_pos_emb: RelativePositionBias | None = None,
        final_norm: nn.Module | None = None,
        rotary_size: int = 0,
    ):
        super().__init__()
        self.depth = len(layers)
        self.transformer_decoder = nn.ModuleList(layers)
        self.self_pos_emb = self_pos_emb
        self.layer_norm = final_norm
        self.rotary_size = rotary_size

    @classmethod
    def from_config(cls, config: ModelConfig) -> TransformerDecoder:
        """The decoder that a model JSON describes."""
        return cls(
            [decoder_layer(config) for _ in range(config.decoder_layers)],
            _position_bias(config, bidirectional=False),
            layer_norm(config) if config.layernorm_positioning == "pre" else None,
            config.head_size if config.rotary_position_embedding else 0,
        )

    def new_past(self, capacity: int) -> DecoderPast:
        """For `forward`, with room for so many tokens."""
        return DecoderPast(capacity)

    def forward(
        self,
        embedded: Tensor,
        memory: Tensor,
        segments: Tensor,
        memory_segments: Tensor,
        positions: Tensor | None = None,
        documents: Documents | None = None,
        memory_documents: Documents | None = None,
        past: DecoderPast | None = None,
    ) -> Tensor:
        """[B, T, H] and the encoder's [B, S, H] -> [B, T, H]; the other arguments are of [B, T] or [B, S] tokens.

        With a `past`, of tokens behind those in it.
        """
        if past is not None:
            visibility = past.own.visibility("causal", segments)
            memory_visibility = past.source.visibility(memory_segments, segments)
        else:
            own, read = (part.numbers if part else None for part in (documents, memory_documents))
            most = documents.most if documents else None
            visibility = Visibility("causal", segments, own, most=most)
            memory_visibility = Visibility("fully_visible", memory_segments, read, segments, own, most)
        bias = None
        if self.self_pos_emb is not None:
            bias = self.self_pos_emb(visibility.segments.size(1), embedded.device, embedded.size(1))
            bias = bias_for(bias, visibility)
        rotation = _rotation(embedded, positions, self.rotary_size) if self.rotary_size else None
        hidden = self.run(
            list(self.transformer_decoder),
            (embedded,),
            memory,
            bias,
            rotation,
            visibility=visibility,
            memory_visibility=memory_visibility,
        )
        return hidden if self.layer_norm is None else self.layer_norm(hidden)


def _rotation(hidden: Tensor, positions: Tensor | None, head_size: int) -> Tensor:
    """Angles for `rotate`: [1 or B, S, 1, D / 2]."""
    if positions is None:
        positions = torch.arange(hidden.size(1), device=hidden.device).unsqueeze(0)
    return rotation_angles(positions, head_size).unsqueeze(2)


def _position_bias(config: ModelConfig, bidirectional: bool) -> RelativePositionBias | None:
    """UER-py adds the bias before it scales the scores, so the bias is scaled with them."""
    if not config.relative_position_embedding:
        return None
    assert config.heads_num is not None
    scale = 1.0 if config.remove_attention_scale else 1.0 / math.sqrt(config.head_size)
    return RelativePositionBias(config.heads_num, config.relative_attention_buckets_num, bidirectional, scale)
