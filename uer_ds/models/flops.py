"""Model FLOPs: the matrix products that an objective needs of a model, whatever a kernel does besides.

A product of [m, k] and [k, n] is 2 m k n operations. Forward, every weight matrix of encoder and decoder meets every
real token once; attention multiplies scores and values only for pairs of tokens that see each other; heads work only
where there is a label. The backward pass needs each product twice more (Kaplan et al. 2020, section 2.1). Padding,
recomputation, norms, activations, lookups in tables and the optimizer count nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor, nn

from uer_ds.data.batch import IGNORE, Batch
from uer_ds.models.attention import MultiHeadedAttention
from uer_ds.models.masks import visible_keys
from uer_ds.models.model import Model

BACKWARD = 2
"""Products of the backward pass for one of the forward pass: gradients of its input and of its weight."""


@dataclass(frozen=True)
class Work:
    """What a batch asks of a model.

    Attributes:
        tokens: real tokens that the encoder reads.
        pairs: (query, key) pairs of them that see each other, in one layer and head.
        target_tokens, target_pairs: the same of the decoder.
        memory_pairs: pairs of decoder and encoder tokens.
        labels: predictions by label name.
    """

    tokens: int
    pairs: int
    target_tokens: int = 0
    target_pairs: int = 0
    memory_pairs: int = 0
    labels: dict[str, int] = field(default_factory=dict)


def work_of(batch: Batch, mask: str) -> Work:
    """The work of `batch` for an encoder whose visibility is `mask`."""
    labels = {name: int((values != IGNORE).sum()) for name, values in batch.labels.items()}
    tokens, pairs = int((batch.segments > 0).sum()), _pairs(batch, batch, mask)
    if batch.decoder is None:
        return Work(tokens, pairs, labels=labels)
    decoder = batch.decoder
    target_tokens = int((decoder.segments > 0).sum())
    target_pairs = _pairs(decoder, decoder, "causal")
    return Work(tokens, pairs, target_tokens, target_pairs, _pairs(decoder, batch, "fully_visible"), labels)


def _pairs(queries: Batch, keys: Batch, mask: str) -> int:
    seen = visible_keys(mask, keys.segments, queries.segments.size(1))  # [B or 1, Q or 1, K]
    seen = seen & (keys.segments > 0)[:, None, :] & (queries.segments > 0)[:, :, None]
    if keys.documents is not None and queries.documents is not None:
        seen = seen & (queries.documents[:, :, None] == keys.documents[:, None, :])
    return int(seen.sum())


def training_flops(model: Model, work: Work) -> float:
    """Operations of forward and backward for `work`; the model may be on the meta device."""
    encoder, again = model.encoder, _repetitions(model.encoder)
    total = 2.0 * work.tokens * _weights(encoder) + _attention(encoder, work.pairs)
    if again:
        total += again * (2.0 * work.tokens * _weights(encoder.transformer) + _attention(encoder, work.pairs))  # type: ignore[arg-type]
    if model.decoder is not None:
        memory = _weights_of_memory(model.decoder)
        total += 2.0 * work.target_tokens * (_weights(model.decoder) - memory) + 2.0 * work.tokens * memory
        total += _attention(model.decoder, work.target_pairs, "self_attn")
        total += _attention(model.decoder, work.memory_pairs, "context_attn")
    for target in model.target.values():
        names: tuple[str, ...] = target.label_names  # type: ignore[assignment]
        total += 2.0 * _weights(target) * sum(work.labels.get(name, 0) for name in names)
    return (1 + BACKWARD) * total


def _repetitions(encoder: nn.Module) -> int:
    """How often the one layer of a model with shared layers (ALBERT) runs again."""
    layers = getattr(encoder, "transformer", None)
    return 0 if layers is None or isinstance(layers, nn.ModuleList) else int(encoder.depth) - 1  # type: ignore[arg-type]


def _weights(module: nn.Module) -> int:
    """Entries of the matrices; a table of position bias is looked up, not multiplied."""
    return sum(p.numel() for name, p in module.named_parameters() if _is_matrix(name, p))


def _is_matrix(name: str, parameter: Tensor) -> bool:
    return sum(size > 1 for size in parameter.shape) > 1 and "relative" not in name and "pos_emb" not in name


def _weights_of_memory(decoder: nn.Module) -> int:
    """Key and value matrices of attention to the encoder's output, which meet the encoder's tokens."""
    return sum(
        linear.weight.numel()
        for name, attention in _attentions(decoder)
        if name.endswith("context_attn")
        for linear in list(attention.linear_layers)[1:]
        if isinstance(linear.weight, Tensor)
    )


def _attentions(module: nn.Module) -> list[tuple[str, MultiHeadedAttention]]:
    return [(name, part) for name, part in module.named_modules() if isinstance(part, MultiHeadedAttention)]


def _attention(module: nn.Module, pairs: int, ending: str = "") -> float:
    """Scores, and values times weights: two products of the width of all heads for each pair."""
    widths = [part.final_linear.in_features for name, part in _attentions(module) if name.endswith(ending)]
    return 2.0 * 2.0 * pairs * sum(widths)
