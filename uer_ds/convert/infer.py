"""A model's configuration from the names and shapes of its tensors (our names), as far as they tell.

What is not recorded in a file stays out: the number of heads, the activation. A table of T5's relative positions
tells the heads. Costs nothing: only names and shapes are looked at.
"""

from __future__ import annotations

import re
from typing import Any

from uer_ds.errors import UserError
from uer_ds.storage.lazy import TensorMap

PARTS = ("word", "pos", "seg")
TARGET_NAMES = ("mlm", "sp", "lm", "bilm", "cls")
GATES = {1: "rnn", 3: "gru", 4: "lstm"}  # matrices stacked in one recurrent weight


def infer_config(tensors: TensorMap) -> dict[str, Any]:
    """The keys of `ModelConfig` that the tensors decide, and `attention_width`, `key_width` (heads times head size)."""
    if _has(tensors, "encoder.encoder_0."):
        return _dual(tensors)
    values = _embedding(tensors, "embedding")
    if _has(tensors, "tgt_embedding."):
        target_side = _embedding(tensors, "tgt_embedding")
        values["tgt_embedding"] = target_side["embedding"]
        if target_side["vocab_size"] != values["vocab_size"]:
            values["tgt_vocab_size"] = target_side["vocab_size"]
    values.update(_encoder(tensors))
    values.update(_decoder(tensors))
    values.update(_target(tensors))
    return _with_positions(values)


def _has(tensors: TensorMap, prefix: str) -> bool:
    return any(name.startswith(prefix) for name in tensors)


def _shape(tensors: TensorMap, name: str, axes: int = 2) -> tuple[int, ...]:
    if name not in tensors:
        raise UserError(f"the tensor {name} is missing; the file is incomplete or of another family.")
    shape = tensors[name].shape
    if len(shape) != axes or not all(shape):
        raise UserError(f"the tensor {name} has the shape {list(shape)}; expected {axes} axes, none of them empty.")
    return shape


def _dual(tensors: TensorMap) -> dict[str, Any]:
    """Two streams, each inferred as a model of its own."""
    values: dict[str, Any] = {"embedding": ("dual",), "encoder": "dual", "target": ()}
    for number in (0, 1):
        parts = {f"embedding.dual.embedding_{number}.": "embedding.", f"encoder.encoder_{number}.": "encoder."}
        stream = {
            new + name.removeprefix(old): tensor
            for old, new in parts.items()
            for name, tensor in tensors.items()
            if name.startswith(old)
        }
        values[f"stream_{number}"] = infer_config(stream)
    return {**values, "vocab_size": values["stream_0"]["vocab_size"]}


def _embedding(tensors: TensorMap, side: str) -> dict[str, Any]:
    word = f"{side}.word.embedding.weight"
    parts = tuple(part for part in PARTS if f"{side}.{part}.embedding.weight" in tensors)
    rows, width = _shape(tensors, word)
    values: dict[str, Any] = {"vocab_size": rows, "emb_size": width, "embedding": parts}
    if "pos" in parts:
        values["max_seq_length"] = _shape(tensors, f"{side}.pos.embedding.weight")[0]
    values["remove_embedding_layernorm"] = f"{side}.layer_norm.gamma" not in tensors
    return values


def count_layers(tensors: TensorMap, prefix: str) -> int:
    """The highest layer number after `prefix`, plus one."""
    found = [re.match(rf"{re.escape(prefix)}(\d+)", name) for name in tensors]
    layers = max((int(match[1]) + 1 for match in found if match), default=0)
    if layers > len(tensors):
        raise UserError(
            f"{prefix}{layers - 1} is a layer of a model with only {len(tensors)} tensors; layers are missing."
        )
    return layers


def _encoder(tensors: TensorMap) -> dict[str, Any]:
    if _has(tensors, "encoder.transformer."):
        return _transformer(tensors)
    if _has(tensors, "encoder.rnn"):
        return _recurrent(tensors)
    if _has(tensors, "encoder.conv_1."):
        return _gatedcnn(tensors)
    raise UserError("no tensor of an encoder (encoder.transformer, encoder.rnn, encoder.conv_1) was found.")


def _transformer(tensors: TensorMap) -> dict[str, Any]:
    layers = count_layers(tensors, "encoder.transformer.")
    first = "encoder.transformer.0" if layers else "encoder.transformer"
    values: dict[str, Any] = {"encoder": "transformer", "parameter_sharing": not layers}
    if layers:
        values["layers_num"] = layers
    values["hidden_size"] = _shape(tensors, f"{first}.self_attn.final_linear.weight")[0]
    values["attention_width"] = _shape(tensors, f"{first}.self_attn.linear_layers.0.weight")[0]
    values["key_width"] = _shape(tensors, f"{first}.self_attn.linear_layers.1.weight")[0]
    values["feedforward_size"] = _shape(tensors, f"{first}.feed_forward.linear_1.weight")[0]
    values["feed_forward"] = "gated" if f"{first}.feed_forward.linear_gate.weight" in tensors else "dense"
    values["remove_transformer_bias"] = f"{first}.self_attn.final_linear.bias" not in tensors
    values["layernorm_positioning"] = "pre" if _has(tensors, "encoder.layer_norm.") else "post"
    values["factorized_embedding_parameterization"] = "encoder.linear.weight" in tensors
    relative = "encoder.relative_pos_emb.relative_attention_bias.weight"
    values["relative_position_embedding"] = relative in tensors
    if relative in tensors:
        values["relative_attention_buckets_num"], values["heads_num"] = _shape(tensors, relative)
    if f"{first}.layer_norm_1.weight" in tensors:
        values["layernorm"] = "t5" if relative in tensors else "rms"
    return values


def _recurrent(tensors: TensorMap) -> dict[str, Any]:
    two_stacks = _has(tensors, "encoder.rnn_backward.")
    name = "encoder.rnn_forward" if two_stacks else "encoder.rnn"
    bidirectional = f"{name}.weight_hh_l0_reverse" in tensors
    rows, units = _shape(tensors, f"{name}.weight_hh_l0")
    if rows % units or rows // units not in GATES:
        raise UserError(
            f"the tensor {name}.weight_hh_l0 has {rows} rows of {units} units; "
            f"expected {units} (rnn), {3 * units} (gru) or {4 * units} (lstm) rows."
        )
    kind = GATES[rows // units]
    return {
        "encoder": f"bi{kind}" if two_stacks else kind,
        "hidden_size": units * 2 if two_stacks or bidirectional else units,
        "layers_num": count_layers(tensors, f"{name}.weight_hh_l"),
        "bidirectional": bidirectional,
    }


def _gatedcnn(tensors: TensorMap) -> dict[str, Any]:
    hidden, _, kernel, _ = _shape(tensors, "encoder.conv_1.weight", axes=4)
    layers = count_layers(tensors, "encoder.conv.") + 1
    return {"encoder": "gatedcnn", "hidden_size": hidden, "kernel_size": kernel, "layers_num": layers}


def _decoder(tensors: TensorMap) -> dict[str, Any]:
    layers = count_layers(tensors, "decoder.transformer_decoder.")
    return {"decoder": "transformer", "decoder_layers_num": layers} if layers else {"decoder": None}


def _target(tensors: TensorMap) -> dict[str, Any]:
    targets = tuple(name for name in TARGET_NAMES if _has(tensors, f"target.{name}."))
    values: dict[str, Any] = {"target": targets}
    if "lm" in targets:
        values["has_lmtarget_bias"] = "target.lm.output_layer.bias" in tensors
    if "cls" in targets:
        values["labels_num"] = _shape(tensors, "target.cls.linear_2.weight")[0]
    return values


def _with_positions(values: dict[str, Any]) -> dict[str, Any]:
    """What leaves no tensor but must be there: a transformer's positions, and the mask of a language model."""
    if values["encoder"] != "transformer":
        return values
    if "pos" not in values["embedding"] and not values["relative_position_embedding"]:
        if values.get("layernorm") == "rms":
            values["rotary_position_embedding"] = True
        else:
            values["embedding"] = (*values["embedding"], "sinusoidalpos")
            if values["decoder"]:
                values["tgt_embedding"] = (*values["tgt_embedding"], "sinusoidalpos")
    if "lm" in values["target"] and values["decoder"] is None:
        values["mask"] = "causal"
    return values


# Keys in which a configuration may say more, or something else, than the tensors tell.
UNCERTAIN = frozenset({"target", "has_lmtarget_bias", "layernorm", "mask", "embedding", "tgt_embedding"})


def refuse_contradictions(stated: dict[str, Any], inferred: dict[str, Any], where: str, names: dict[str, str]) -> None:
    """Raise `UserError` when a configuration says something else than the tensors.

    `names` gives the keys as the file `where` spells them.
    """
    for key, found in inferred.items():
        said = stated.get(key)
        if isinstance(found, dict) and isinstance(said, dict):
            refuse_contradictions(said, found, f"{where}: {key}", names)
        elif key not in UNCERTAIN and said is not None and said != found:
            raise UserError(
                f"{where}: says {names.get(key, key)} is {said}, but the tensors have {found}; "
                "the configuration belongs to another model."
            )
