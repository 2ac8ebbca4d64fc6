"""Bytes that a forward pass leaves for the backward pass, by formula, from a model's configuration.

Written down from the layers themselves (`uer_ds.models`), in the manner of Korthikanti et al. 2022 (Reducing Activation
Recomputation in Large Transformer Models, section 4), and compared with what autograd really saves in
tests/plan/test_activations.py. A transformer layer of width H and inner width F, post- or pre-normed, keeps 10 H + 2 F
numbers a token on the CPU: the inputs of attention, queries, keys, values and their result (5 H), the factors of two
dropouts (2 H), the inputs of two norms (2 H), the input of the feed-forward layer (H), and both sides of its activation
(2 F). Without dropout 2 H fewer. Attention keeps one byte for each pair of tokens that is looked at, for its own
dropout; GPU kernels keep none, and one byte instead of a number for each element that is dropped out.

H width, F inner width, A heads, D width of a head, w bytes of a number.
"""

from __future__ import annotations

from dataclasses import dataclass

from uer_ds.config.model import ModelConfig
from uer_ds.plan.rows import Rows

FLOAT = 4
"""Bytes of what is kept in float32 whatever the precision."""

IDS = 8
"""Bytes of a token id, segment, position, document number or label."""

RECURRENT = {"rnn": 3.0, "lstm": 19.0, "gru": 9.0}
"""Numbers that a recurrent layer keeps for each of its units and tokens, observed in torch's CPU kernels: gates, states
and copies of them. Those of cuDNN differ."""

GATED_CONVOLUTION = 3.0
"""Numbers for each channel: the padded input, the convolution, the gate."""


@dataclass(frozen=True)
class Kept:
    """How numbers are kept: `width` bytes each, on the "cpu" or an accelerator."""

    width: int
    device: str

    @property
    def dropout(self) -> int:
        """Bytes for each element of a hidden vector that dropout decides about: a factor, or a bit in a byte."""
        return self.width if self.device == "cpu" else 1


def activation_bytes(config: ModelConfig, rows: Rows, kept: Kept, recompute: int = 0) -> float:
    """All of encoder, decoder and embeddings; `recompute`: layers in a recomputed piece, 0: everything is kept."""
    if config.encoder == "dual":
        assert config.stream_0 is not None and config.stream_1 is not None
        return sum(activation_bytes(s, rows, kept, recompute) for s in (config.stream_0, config.stream_1))
    total = _embedding(config, rows.tokens, kept) + _encoder(config, rows, kept, recompute)
    total += rows.tokens * IDS * (5 if rows.packed else 3)  # the batch itself: ids, segments, labels
    if config.decoder:
        total += _embedding(config, rows.target_tokens, kept) + rows.target_tokens * IDS * 3
        total += _stack(
            _decoder_layer(config, rows, kept), rows.target_tokens, config.decoder_layers, recompute, config, kept
        )
    return total


def head_bytes(config: ModelConfig, predicted: float, kept: Kept) -> float:
    """Of the vocabulary's head, without logits: vectors that were picked, transformed, and their gradient."""
    assert config.hidden_size is not None
    if "mlm" not in config.target:
        return predicted * 2 * kept.width * config.hidden_size
    inner = config.emb_size if config.factorized_embedding_parameterization else config.hidden_size
    assert inner is not None
    kinds = 2 * inner + norm_bytes("normal", inner, kept.width) / kept.width  # around the activation, its norm
    return predicted * kept.width * (config.hidden_size + kinds + inner)


def norm_bytes(kind: str, size: int, width: int) -> float:
    """What a norm keeps of one vector of `size`."""
    if kind == "uer":  # the vector and its deviations in float32, the normed one, three scalars
        return size * (2 * FLOAT + width) + 3 * FLOAT
    if kind in ("t5", "rms"):  # the vector in float32, the normed one, a scalar
        return size * (FLOAT + width) + FLOAT
    return size * width + 2 * FLOAT


def _embedding(config: ModelConfig, tokens: int, kept: Kept) -> float:
    assert config.emb_size is not None
    size = 0.0
    if not config.remove_embedding_layernorm:
        kind = config.layernorm if config.layernorm == "uer" else "normal"
        size += norm_bytes(kind, config.emb_size, kept.width)
    if config.dropout:
        size += config.emb_size * kept.dropout
    return tokens * size


def _encoder(config: ModelConfig, rows: Rows, kept: Kept, recompute: int) -> float:
    assert config.hidden_size and config.layers_num and config.emb_size
    if config.encoder == "transformer":
        first = config.emb_size * kept.width if config.factorized_embedding_parameterization else 0
        layers = _stack(_encoder_layer(config, rows, kept), rows.tokens, config.layers_num, recompute, config, kept)
        return rows.tokens * first + layers + _position_bias(config, rows.length, kept)
    each = GATED_CONVOLUTION if config.encoder == "gatedcnn" else RECURRENT[config.encoder.removeprefix("bi")]
    output = config.hidden_size * (kept.width + (kept.dropout if config.dropout else 0))
    return rows.tokens * (config.layers_num * each * config.hidden_size * kept.width + output)


def _stack(layer: float, tokens: int, depth: int, recompute: int, config: ModelConfig, kept: Kept) -> float:
    """`layer` bytes a token in each of `depth` layers, the input of the first and the output of the last among them."""
    assert config.hidden_size is not None
    vector = config.hidden_size * kept.width
    last = (
        vector
        if config.layernorm_positioning == "post"
        else vector + norm_bytes(config.layernorm, config.hidden_size, kept.width)
    )
    if not recompute:
        return tokens * (depth * layer + last)
    pieces = -(-depth // recompute)
    return tokens * (pieces * vector + min(recompute, depth) * layer + last)


def _encoder_layer(config: ModelConfig, rows: Rows, kept: Kept) -> float:
    scores = rows.document if rows.document < rows.length else rows.length
    return _self_attention(config, scores, kept) + _around(config, 2, kept)


def _decoder_layer(config: ModelConfig, rows: Rows, kept: Kept) -> float:
    """Attention to the memory keeps queries and result for each target token, keys and values for each source token."""
    assert config.hidden_size is not None and config.heads_num is not None
    share = rows.length / max(1, rows.target_length)
    wide = config.heads_num * config.head_size
    context = kept.width * (config.hidden_size + 2 * wide + 2 * wide * share) + _scores(config, rows.document, kept)
    target = min(rows.target_length, rows.document)
    return _self_attention(config, target, kept) + context + _around(config, 3, kept)


def _self_attention(config: ModelConfig, keys: int, kept: Kept) -> float:
    """Input, queries, keys, values (repeated where queries share them), result; rotations by position are small."""
    assert config.hidden_size is not None and config.heads_num is not None
    wide = config.heads_num * config.head_size
    return kept.width * (config.hidden_size + 4 * wide) + _scores(config, keys, kept)


def _scores(config: ModelConfig, keys: int, kept: Kept) -> float:
    """Bytes for the pairs of one token with `keys` others, in all heads."""
    assert config.heads_num is not None
    if config.has_residual_attention:  # softmax in float32; its copy in low precision; factors, what is left of it
        copies = kept.width + kept.dropout if config.dropout else (kept.width if kept.width < FLOAT else 0)
        return config.heads_num * keys * (FLOAT + copies)
    if kept.device == "cpu":
        return config.heads_num * keys * (1 if config.dropout else 0)
    return config.heads_num * FLOAT


def _around(config: ModelConfig, parts: int, kept: Kept) -> float:
    """Norms and dropouts of `parts` sub-layers, and the feed-forward layer."""
    assert config.hidden_size is not None and config.feedforward_size is not None
    norms = parts * norm_bytes(config.layernorm, config.hidden_size, kept.width)
    dropouts = parts * config.hidden_size * kept.dropout if config.dropout else 0
    inner = 1 if config.hidden_act in ("relu", "linear") else 2
    if config.feed_forward == "gated":
        inner += 2  # the other factor, and the product
    return norms + dropouts + kept.width * (config.hidden_size + inner * config.feedforward_size)


def _position_bias(config: ModelConfig, length: int, kept: Kept) -> float:
    """T5's bias of a row, once for all layers, and the buckets that it was looked up in."""
    if not config.relative_position_embedding:
        return 0.0
    assert config.heads_num is not None
    return length**2 * (config.heads_num * kept.width + IDS)
