"""`ModelConfig`: everything that decides a model's arithmetic and parameter names, in UER-py's JSON keys.

Frozen, checked when it is made, saved with every checkpoint, and enough to rebuild the model. Sizes have no default:
they come from a JSON file under `models/`. Symbols used below: E emb_size, H hidden_size, A heads_num, L layers_num.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

from uer_ds.config.checks import check_model
from uer_ds.config.options import Options, non_default_values, option, read_values, to_json
from uer_ds.errors import UserError
from uer_ds.registry import DECODERS, EMBEDDINGS, ENCODERS, OBJECTIVES, TARGETS

HIDDEN_ACTS = ("gelu", "gelu_fast", "relu", "silu", "linear")
LAYERNORMS = ("normal", "uer", "t5", "rms")
MASKS = ("fully_visible", "causal", "causal_with_prefix")
SINUSOIDAL_LAYOUTS = ("uer", "interleaved", "halves")
POOLINGS = ("mean", "max", "first", "last")


@dataclass(frozen=True)
class ModelConfig(Options):
    """One model. Keys and defaults are UER-py's; `layernorm: "uer"`, `rms` and the llama keys are additions."""

    DASHES: ClassVar[str] = ""

    # Sizes (JSON only, as in UER-py).
    vocab_size: int | None = option(
        None, "entries of the source vocabulary; taken from the tokenizer when absent", internal=True, least=1
    )
    tgt_vocab_size: int | None = option(
        None, "entries of the target vocabulary; default: vocab_size", internal=True, least=1
    )
    emb_size: int | None = option(None, "E, width of the embedding", internal=True, least=1)
    hidden_size: int | None = option(None, "H, width of the layers", internal=True, least=1)
    feedforward_size: int | None = option(None, "inner width of the feed-forward layer", internal=True, least=1)
    heads_num: int | None = option(None, "A, attention heads", internal=True, least=1)
    local_kv_heads_num: int | None = option(
        None, "key/value heads (grouped queries); default: heads_num", internal=True, least=1
    )
    attention_head_size: int | None = option(None, "width of one head; default: H / A", internal=True, least=1)
    layers_num: int | None = option(None, "L, encoder layers", internal=True, least=1)
    decoder_layers_num: int | None = option(None, "decoder layers; default: layers_num", internal=True, least=1)
    kernel_size: int | None = option(None, "gatedcnn: width of a convolution in tokens", internal=True, least=1)
    block_size: int | None = option(None, "gatedcnn: layers between residual connections", internal=True, least=1)
    hidden_act: str = option(
        "gelu", "activation of feed-forward layers and of the mlm head", HIDDEN_ACTS, internal=True
    )
    labels_num: int | None = option(None, "classes of the cls target", least=1)
    stream_0: ModelConfig | None = option(None, "dual: the first stream, an object of these keys", internal=True)
    stream_1: ModelConfig | None = option(None, "dual: the second stream", internal=True)

    # Embedding.
    embedding: tuple[str, ...] = option(("word",), "parts of the input embedding, summed in this order", EMBEDDINGS)
    tgt_embedding: tuple[str, ...] = option(("word",), "parts of the decoder's embedding", EMBEDDINGS)
    max_seq_length: int = option(512, "rows of the position table, in tokens", least=1)
    relative_position_embedding: bool = option(False, "T5's bucketed attention bias")
    relative_attention_buckets_num: int = option(32, "buckets of the relative position bias", least=1)
    rotary_position_embedding: bool = option(False, "rotate queries and keys by position (llama)")
    sinusoidal_layout: str = option(
        "uer",
        "table of sinusoidalpos; uer: UER-py's; interleaved: that of 2021; halves: Hugging Face's",
        SINUSOIDAL_LAYOUTS,
        internal=True,
    )
    share_embedding: bool = option(False, "the decoder's word table is the encoder's")
    remove_embedding_layernorm: bool = option(False, "no layer norm after the embedding sum")
    factorized_embedding_parameterization: bool = option(
        False, "ALBERT: project E to H in the encoder, H to E in the mlm head"
    )

    # Layers.
    encoder: str = option("transformer", "encoder", ENCODERS)
    decoder: str | None = option(None, "decoder; default: none", DECODERS)
    mask: str = option("fully_visible", "which positions encoder self-attention sees", MASKS)
    layernorm_positioning: str = option(
        "post", "layer norm after (post) or before (pre) each sub-layer", ("pre", "post")
    )
    layernorm: str = option(
        "normal", "normal: the standard LayerNorm; uer: UER-py's (unbiased std); t5, rms: RMSNorm", LAYERNORMS
    )
    layernorm_eps: float = option(1e-6, "epsilon of every layer norm", least=0, below=1)
    feed_forward: str = option("dense", "feed-forward layer", ("dense", "gated"))
    remove_attention_scale: bool = option(False, "no division of scores by sqrt(head size)")
    remove_transformer_bias: bool = option(False, "no bias in attention and feed-forward matrices")
    bidirectional: bool = option(False, "rnn, lstm, gru: H/2 units in each direction")
    parameter_sharing: bool = option(False, "ALBERT: one layer used L times")
    has_residual_attention: bool = option(False, "RealFormer: add the previous layer's scores")
    dropout: float = option(0.1, "dropout probability everywhere", least=0, below=1)

    # Targets.
    target: tuple[str, ...] = option(("mlm",), "training heads", TARGETS)
    tie_weights: bool = option(False, "the output matrix is the word table (dual: the second stream is the first)")
    has_lmtarget_bias: bool = option(False, "bias in the LM output layer")
    prefix_lm_loss: bool = option(
        False, "LM loss on the answer only, which is what prefixlm and llm_sft do anyway; refused with others"
    )
    pooling: str = option("first", "sentence vector of the cls target", POOLINGS)
    label_smoothing: float = option(0.0, "label smoothing of the lm target", internal=True, least=0, below=1)
    ignore_index: bool = option(
        False, "accepted for UER-py's files: padding targets are never trained here", internal=True
    )
    data_processor: str | None = option(None, "the objective this family is trained with", OBJECTIVES, internal=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_model(self)

    @property
    def head_size(self) -> int:
        """Width D of one attention head."""
        assert self.hidden_size is not None and self.heads_num is not None
        return self.attention_head_size or self.hidden_size // self.heads_num

    @property
    def decoder_layers(self) -> int:
        """Layers of the decoder."""
        assert self.layers_num is not None
        return self.decoder_layers_num or self.layers_num

    def replace(self, **changes: Any) -> ModelConfig:
        """A copy with some values changed (and checked again)."""
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """The keys that differ from their defaults, as JSON data; of a stream, from what it would inherit."""
        values = non_default_values(self)
        for name, stream in (("stream_0", self.stream_0), ("stream_1", self.stream_1)):
            if stream is not None:
                values[name] = {
                    key: to_json(value) for key, value in vars(stream).items() if value != _inherited(self, key)
                }
        return values


def model_config_from_dict(values: dict[str, Any], where: str = "model configuration") -> ModelConfig:
    """Build a `ModelConfig` from UER JSON keys; errors name `where`, and the stream where one is meant."""
    checked = read_values(ModelConfig, _with_inheritance(values), where)
    try:
        return ModelConfig(**checked)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


OWN_KEYS = frozenset(
    {
        *("stream_0", "stream_1", "embedding", "encoder", "target", "tie_weights", "pooling"),
        *("labels_num", "data_processor", "has_lmtarget_bias", "label_smoothing"),
        *("decoder", "decoder_layers_num", "tgt_embedding", "tgt_vocab_size", "share_embedding"),
    }
)
"""Keys that a stream of a dual model does not have from the object around it."""


def _with_inheritance(values: dict[str, Any]) -> dict[str, Any]:
    """Dual models: what a stream does not say for itself it has from the object around it (`OWN_KEYS` excepted).

    Neither has a target unless one is named.
    """
    common = {key: value for key, value in values.items() if key not in OWN_KEYS}
    streams = {name: values[name] for name in ("stream_0", "stream_1") if isinstance(values.get(name), dict)}
    if not streams:
        return values
    whole = {name: _with_inheritance({"target": [], **common, **stream}) for name, stream in streams.items()}
    return {"target": [], **values, **whole}


def _inherited(config: ModelConfig, key: str) -> Any:
    """What a stream of `config` has for `key` when it says nothing itself."""
    if key == "target":
        return ()
    return getattr(ModelConfig if key in OWN_KEYS else config, key)
