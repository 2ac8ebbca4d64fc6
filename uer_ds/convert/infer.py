"""A model's configuration from the names and shapes of its tensors (our names), as far as they tell.

What is not recorded in a file stays out: the number of heads, the mask, the activation. A table of T5's relative
positions tells the heads. Costs nothing: only names and shapes are looked at.
"""

from __future__ import annotations

import re
from typing import Any

from uer_ds.convert.lazy import TensorMap
from uer_ds.errors import UserError

PARTS = ("word", "pos", "seg")
TARGET_NAMES = ("mlm", "sp", "lm", "bilm", "cls")


def infer_config(tensors: TensorMap) -> dict[str, Any]:
    """The keys of `ModelConfig` that the tensors decide, and `attention_width` (heads times head size)."""
    values = _embedding(tensors, "embedding")
    if any(name.startswith("tgt_embedding.") for name in tensors):
        target_side = _embedding(tensors, "tgt_embedding")
        values["tgt_embedding"] = target_side["embedding"]
        if target_side["vocab_size"] != values["vocab_size"]:
            values["tgt_vocab_size"] = target_side["vocab_size"]
    values.update(_transformer(tensors) if _has(tensors, "encoder.transformer.") else {})
    values.update(_decoder(tensors))
    values.update(_target(tensors))
    return values


def _has(tensors: TensorMap, prefix: str) -> bool:
    return any(name.startswith(prefix) for name in tensors)


def _rows(tensors: TensorMap, name: str) -> int:
    return tensors[name].shape[0]


def _embedding(tensors: TensorMap, side: str) -> dict[str, Any]:
    word = tensors.get(f"{side}.word.embedding.weight")
    if word is None:
        raise UserError(f"the tensor {side}.word.embedding.weight is missing; expected a model with a word table.")
    parts = tuple(part for part in PARTS if f"{side}.{part}.embedding.weight" in tensors)
    values: dict[str, Any] = {"vocab_size": word.shape[0], "emb_size": word.shape[1], "embedding": parts}
    if "pos" in parts:
        values["max_seq_length"] = _rows(tensors, f"{side}.pos.embedding.weight")
    values["remove_embedding_layernorm"] = f"{side}.layer_norm.gamma" not in tensors
    return values


def count_layers(tensors: TensorMap, prefix: str) -> int:
    """The highest layer number after `prefix`, plus one."""
    found = [re.match(rf"{re.escape(prefix)}\.(\d+)\.", name) for name in tensors]
    return max((int(match[1]) + 1 for match in found if match), default=0)


def _transformer(tensors: TensorMap) -> dict[str, Any]:
    layers = count_layers(tensors, "encoder.transformer")
    first = "encoder.transformer.0" if layers else "encoder.transformer"
    values: dict[str, Any] = {"encoder": "transformer", "parameter_sharing": not layers}
    if layers:
        values["layers_num"] = layers
    values["hidden_size"], values["attention_width"] = tensors[f"{first}.self_attn.final_linear.weight"].shape
    values["feedforward_size"] = _rows(tensors, f"{first}.feed_forward.linear_1.weight")
    values["feed_forward"] = "gated" if f"{first}.feed_forward.linear_gate.weight" in tensors else "dense"
    values["remove_transformer_bias"] = f"{first}.self_attn.final_linear.bias" not in tensors
    values["layernorm_positioning"] = "pre" if _has(tensors, "encoder.layer_norm.") else "post"
    values["factorized_embedding_parameterization"] = "encoder.linear.weight" in tensors
    relative = tensors.get("encoder.relative_pos_emb.relative_attention_bias.weight")
    values["relative_position_embedding"] = relative is not None
    if relative is not None:
        values["relative_attention_buckets_num"], values["heads_num"] = relative.shape
    return values


def _decoder(tensors: TensorMap) -> dict[str, Any]:
    layers = count_layers(tensors, "decoder.transformer_decoder")
    return {"decoder": "transformer", "decoder_layers_num": layers} if layers else {"decoder": None}


def _target(tensors: TensorMap) -> dict[str, Any]:
    targets = tuple(name for name in TARGET_NAMES if _has(tensors, f"target.{name}."))
    values: dict[str, Any] = {"target": targets} if targets else {}
    if "lm" in targets:
        values["has_lmtarget_bias"] = "target.lm.output_layer.bias" in tensors
    if "cls" in targets:
        values["labels_num"] = _rows(tensors, "target.cls.linear_2.weight")
    return values


def refuse_contradictions(stated: dict[str, Any], inferred: dict[str, Any], where: str, names: dict[str, str]) -> None:
    """Raise `UserError` when a configuration says something else than the tensors.

    `names` gives the keys as the file `where` spells them. Targets are left out: a file may hold fewer or other
    heads.
    """
    for key, found in inferred.items():
        said = tuple(stated[key]) if isinstance(stated.get(key), list) else stated.get(key)
        if key not in ("target", "labels_num", "has_lmtarget_bias") and said is not None and said != found:
            raise UserError(
                f"{where}: says {names.get(key, key)} is {said}, but the tensors have {found}; "
                "the configuration belongs to another model."
            )
