"""`build_model` and `Model`: embedding, encoder, [target embedding, decoder], target.

The names of the five children and of everything below them are UER-py's, so `state_dict()` keys equal those of its
files. The model knows no rank, no file and no flag. B rows, S source tokens, T target tokens, H width of the layers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from uer_ds.config.model import ModelConfig
from uer_ds.data.batch import Batch, Terms
from uer_ds.errors import UserError
from uer_ds.models.attention import MultiHeadedAttention, WholeRows
from uer_ds.models.documents import Documents
from uer_ds.models.dual import DualEmbedding
from uer_ds.models.embeddings import SEGMENTS_NUM, build_embedding
from uer_ds.models.labels import Labels
from uer_ds.models.past import Past
from uer_ds.models.transformer import Stack, TransformerEncoder
from uer_ds.registry import DECODERS, ENCODERS, TARGETS


class Model(nn.Module):
    """A model that answers a `Batch` with `Terms`: sums and counts of losses and right predictions."""

    def __init__(
        self,
        config: ModelConfig,
        embedding: nn.Module,
        encoder: nn.Module,
        target: dict[str, nn.Module],
        tgt_embedding: nn.Module | None = None,
        decoder: nn.Module | None = None,
    ):
        super().__init__()
        self.config = config
        self.embedding = embedding
        self.encoder = encoder
        self.tgt_embedding = tgt_embedding
        self.decoder = decoder
        self.target = nn.ModuleDict(target)

    def forward(self, batch: Batch) -> Terms:
        """The terms of every target, for example {"loss_mlm": (sum, count), "accuracy_mlm": (sum, count)}.

        Raises UserError when the batch lacks the labels of a target.
        """
        hidden = self.output(batch)
        segments = (batch.decoder or batch).segments
        terms: Terms = {}
        for name, target in self.target.items():
            label_names = cast(tuple[str, ...], target.label_names)
            labels = _labels(name, label_names, batch)
            for label_name, (loss, correct, count) in zip(label_names, target(hidden, segments, *labels), strict=True):
                terms[f"loss_{label_name}"] = (loss, count)
                terms[f"accuracy_{label_name}"] = (correct, count)
        return terms

    def recompute_activations(self, layers: int) -> None:
        """Keep activations only between pieces of `layers` transformer layers in training; 0: keep all."""
        for module in self.modules():
            if isinstance(module, Stack):
                module.recompute_layers = layers

    def share_rows(self, rows: WholeRows) -> None:
        """Let a transformer encoder see only a part of each row (`Batch.part`); `rows` knows where the rest is."""
        for module in self.modules():
            if isinstance(module, (TransformerEncoder, MultiHeadedAttention)):
                module.rows = rows

    def logits(self, batch: Batch) -> dict[str, Tensor]:
        """Scores before the softmax, by name of the target, at all positions.

        "mlm", "lm": [B, S, V] (with a decoder [B, T, V]); "bilm": [2, B, S, V]; "sp", "cls": [B, classes]. For
        generation and inspection: training never holds all logits at once.
        """
        hidden = self.output(batch)
        segments = (batch.decoder or batch).segments
        heads = cast(Mapping[str, Any], self.target)
        return {name: target.logits(hidden, segments) for name, target in heads.items()}

    def new_past(self, capacity: int) -> Past:
        """For `next_logits`, with room for so many tokens a row.

        Raises UserError for a model that cannot continue a text, or has no head that says the next token.
        """
        if "lm" not in self.target:
            raise UserError(
                f"this model's target is {' '.join(self.target) or 'empty'}; only one with target lm says the next "
                "token."
            )
        part: Any = self.encoder if self.decoder is None else self.decoder
        if not hasattr(part, "new_past"):
            raise UserError(
                f"encoder {self.config.encoder!r} reads its texts in both directions, so it cannot continue one."
            )
        past: Past = part.new_past(capacity)
        return past

    def next_logits(self, batch: Batch, past: Past, source: tuple[Batch, Tensor] | None = None) -> Tensor:
        """Read tokens behind those in `past`; scores of what follows the last of them, [B, V] float32.

        Args:
            batch: [B, Q] tokens of all rows, with their positions.
            source: of a model with decoder: the encoder's batch [B, S] and its output [B, S, H].
        """
        embed = self.embedding if self.tgt_embedding is None else self.tgt_embedding
        embedded = embed(batch.ids, batch.segments, batch.positions)
        if source is None:
            hidden = self.encoder(embedded, batch.segments, batch.positions, past=past)
        else:
            assert self.decoder is not None
            memory = source[0].segments
            hidden = self.decoder(embedded, source[1], batch.segments, memory, batch.positions, past=past)
        target = cast(Any, self.target["lm"])
        return target.logits(hidden[:, -1:], batch.segments)[:, 0].float()

    def output(self, batch: Batch) -> Tensor:
        """What the targets read.

        The decoder's output [B, T, H], or the encoder's [B, S, H] where there is no decoder.
        """
        memory = self.encode(batch)
        return memory if self.decoder is None else self.decode(batch, memory)

    def decode(self, batch: Batch, memory: Tensor) -> Tensor:
        """The decoder's output [B, T, H] for the batch's targets, given the encoder's [B, S, H]."""
        target = batch.decoder
        if target is None:
            raise UserError(
                "this model has a decoder, but the batch has no decoder input; "
                "use an objective with targets (mt, t5, bart, gsg)."
            )
        assert self.tgt_embedding is not None and self.decoder is not None
        embedded = self.tgt_embedding(target.ids, target.segments, target.positions)
        if (target.documents is None) != (batch.documents is None):
            raise UserError("source and targets must both be packed rows, or neither; one of them has no documents.")
        documents, memory_documents = Documents.of(target, batch), Documents.of(batch, batch)
        return self.decoder(
            embedded, memory, target.segments, batch.segments, target.positions, documents, memory_documents
        )

    def encode(self, batch: Batch | Any, segments: Any = None) -> Tensor:
        """Features: the encoder's output [B, S, H]; of a dual model, the first stream's.

        Args:
            batch: a `Batch`, or ids: an integer array or tensor [B, S].
            segments: with ids, an integer array [B, S]; 0 means padding.

        Raises UserError for ids and segments of other types, shapes or ranges.
        """
        if not isinstance(batch, Batch):
            batch = self._plain_batch(batch, segments)
        if self.config.encoder == "dual":
            return self.encode_streams(batch)[0]
        embedded = self.embedding(batch.ids, batch.segments, batch.positions)
        return self.encoder(embedded, batch.segments, batch.positions, Documents.of(batch, batch))

    def encode_streams(self, batch: Batch) -> tuple[Tensor, ...]:
        """Dual models: features [B, S, H] of the batch and, where it has one, of its second stream."""
        pair = (batch,) if batch.second is None else (batch, batch.second)
        if any(b.documents is not None for b in pair):
            raise UserError("a model of two streams reads one text a row, but the rows are packed; use unpacked rows.")
        embedded = self.embedding.get_submodule("dual")(*((b.ids, b.segments, b.positions) for b in pair))
        return self.encoder(*zip(embedded, (b.segments for b in pair), strict=True))

    def _plain_batch(self, ids: Any, segments: Any) -> Batch:
        pair = _whole_numbers("ids", ids, self.config.vocab_size), _whole_numbers("segments", segments, SEGMENTS_NUM)
        if pair[0].ndim != 2 or pair[0].shape != pair[1].shape or not pair[0].numel():
            raise UserError(
                f"encode: ids have shape {tuple(pair[0].shape)} and segments {tuple(pair[1].shape)}; "
                "expected two integer arrays of the same shape [batch, sequence], not empty."
            )
        device = next(self.parameters()).device
        return Batch(pair[0].to(device), pair[1].to(device))


def _whole_numbers(name: str, values: Any, limit: int | None) -> Tensor:
    """`values` as a tensor of whole numbers from 0 up to, not including, `limit`."""
    try:
        numbers = torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"encode: {name} are {type(values).__name__} and no array of integers: {error}.") from None
    if not numbers.numel():
        return numbers
    if numbers.is_floating_point() or numbers.is_complex():
        raise UserError(f"encode: {name} are of type {numbers.dtype}; expected integers.")
    numbers = numbers.long()
    low, high = int(numbers.min()), int(numbers.max())
    if low < 0 or (limit is not None and high >= limit):
        raise UserError(f"encode: {name} go from {low} to {high}; this model knows 0 to {(limit or 0) - 1}.")
    return numbers


def _labels(target: str, names: tuple[str, ...], batch: Batch) -> list[Labels]:
    missing = [name for name in names if name not in batch.labels]
    if missing:
        found = ", ".join(sorted(batch.labels)) or "none"
        raise UserError(
            f"target {target!r} needs labels {', '.join(missing)}, but the batch has {found}; "
            "choose the objective (data_processor) that belongs to this target."
        )
    return [Labels(batch.labels[name], batch.known.labels[name] if batch.known else None) for name in names]


def build_model(config: ModelConfig) -> Model:
    """The model that `config` describes, with random weights from torch's generator.

    `config.vocab_size` must be set. Raises UserError otherwise; contradictions were refused when the config was made.
    """
    if config.vocab_size is None:
        raise UserError("vocab_size is missing; give it in the model JSON or give a vocabulary.")
    if config.encoder == "dual":
        pair = nn.ModuleDict({"dual": DualEmbedding.from_config(config)})
        return Model(config, pair, ENCODERS["dual"].from_config(config), {})
    tgt_vocab_size = config.tgt_vocab_size or config.vocab_size
    output_size = tgt_vocab_size if config.decoder else config.vocab_size
    embedding = build_embedding(config, config.embedding, config.vocab_size)
    encoder = ENCODERS[config.encoder].from_config(config)
    tgt_embedding, decoder = None, None
    if config.decoder:
        tgt_embedding = build_embedding(config, config.tgt_embedding, tgt_vocab_size)
        decoder = DECODERS[config.decoder].from_config(config)
    target = {name: TARGETS[name].from_config(config, output_size) for name in config.target}
    model = Model(config, embedding, encoder, target, tgt_embedding, decoder)
    for owner, source in _ties(model):
        owner.weight = source.weight
    return model


def build_shapes(config: ModelConfig) -> Model:
    """As `build_model`, on torch's meta device: no weight takes memory."""
    with torch.device("meta"):
        return build_model(config)


def count_parameters(model: nn.Module) -> int:
    """Numbers in all weights, tied ones once."""
    return sum(parameter.numel() for parameter in model.parameters())


def _ties(model: Model) -> Iterator[tuple[nn.Module, nn.Module]]:
    """Pairs (module, the module whose weight it takes over).

    Unlike UER-py, tying and sharing together tie all three.
    """
    config = model.config
    if config.decoder and config.share_embedding:
        yield _word_table(model.tgt_embedding), _word_table(model.embedding)
    if not config.tie_weights:
        return
    if "mlm" in model.target:
        yield model.target["mlm"].get_submodule("linear_2"), _word_table(model.embedding)
    if "lm" in model.target:
        source = model.tgt_embedding if config.decoder else model.embedding
        yield model.target["lm"].get_submodule("output_layer"), _word_table(source)


def _word_table(embedding: nn.Module | None) -> nn.Module:
    assert embedding is not None
    return embedding.get_submodule("word.embedding")
