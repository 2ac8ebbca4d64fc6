"""What a checkpoint is: format, family, sizes, tensors, data types, and a checksum of its weights.

The checksum depends on names, types, shapes and values only, so a `.bin` and a `.safetensors` of one model have the
same.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uer_ds.convert.families.catalogue import FAMILIES, by_their_names, family_of
from uer_ds.convert.formats import Checkpoint, open_checkpoint
from uer_ds.convert.infer import infer_config
from uer_ds.convert.our_model import join_ties, read_our_model
from uer_ds.convert.sizes import Hints
from uer_ds.errors import UserError
from uer_ds.storage.lazy import TensorMap, raw_bytes

SIZES = {
    "layers_num": "layers",
    "decoder_layers_num": "decoder layers",
    "hidden_size": "hidden size",
    "emb_size": "embedding size",
    "feedforward_size": "feed-forward size",
    "heads_num": "attention heads",
    "vocab_size": "vocabulary",
    "max_seq_length": "positions",
}


@dataclass(frozen=True)
class Inspection:
    """What was found. `family` is a sentence where there is none; `checksum` is None where it was not asked for."""

    format: str
    layout: str
    family: str
    sizes: dict[str, Any]
    tensors: int
    parameters: int
    bytes: int
    dtypes: dict[str, int]
    names: dict[str, list[int]]
    checksum: str | None = None


def inspect_checkpoint(
    path: str | Path, config_path: str | Path | None = None, with_checksum: bool = True
) -> Inspection:
    """Look into any checkpoint that can be converted. Reads all weights once for the checksum, otherwise none."""
    checkpoint = open_checkpoint(path, config_path)
    tensors = dict(checkpoint.tensors)
    if with_checksum and checkpoint.is_ours:
        join_ties(tensors)
    dtypes: dict[str, int] = {}
    for tensor in tensors.values():
        name = str(tensor.dtype).removeprefix("torch.")
        dtypes[name] = dtypes.get(name, 0) + 1
    return Inspection(
        checkpoint.format,
        "UER" if checkpoint.is_ours else "Hugging Face",
        _family(checkpoint),
        _sizes(checkpoint),
        len(tensors),
        sum(tensor.size for tensor in set(tensors.values())),
        sum(tensor.bytes for tensor in set(tensors.values())),
        dtypes,
        {name: list(tensor.shape) for name, tensor in tensors.items()},
        weights_checksum(tensors) if with_checksum else None,
    )


def weights_checksum(tensors: TensorMap) -> str:
    """SHA-256 over the tensors in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(raw_bytes(tensor))
    return digest.hexdigest()


def _family(checkpoint: Checkpoint) -> str:
    try:
        if not checkpoint.is_ours:
            model_type = (checkpoint.config or {}).get("model_type")
            return by_their_names(checkpoint.tensors, model_type, str(checkpoint.path)).name
        config = read_our_model(checkpoint, _any_sizes(checkpoint)).config
        part = config.stream_0 or config
        name = family_of(part, str(checkpoint.path)).name if part.encoder == "transformer" else part.encoder
        return f"siamese {name}" if config.encoder == "dual" else name
    except UserError:
        return f"none of {', '.join(FAMILIES)}"


def _any_sizes(checkpoint: Checkpoint) -> Hints:
    """Values for what no file tells: the family does not depend on them."""
    inferred = {**infer_config(checkpoint.tensors), **(checkpoint.config or {})}
    layers = None if "layers_num" in inferred or "stream_0" in inferred else 1
    return Hints(layers_num=layers, ask_heads=lambda hidden_size: 1)


def _sizes(checkpoint: Checkpoint) -> dict[str, Any]:
    """Sizes from the tensors, then from the configuration."""
    stated = checkpoint.config or {}
    if not checkpoint.is_ours:
        found = {key: value for key, value in stated.items() if isinstance(value, int) and not isinstance(value, bool)}
        return {key: value for key, value in found.items() if not key.endswith("token_id")}
    values = {**infer_config(checkpoint.tensors), **{key: value for key, value in stated.items() if value is not None}}
    values = {**values.get("stream_0", {}), **values}
    found = {title: values[key] for key, title in SIZES.items() if values.get(key) is not None}
    return {**found, "targets": ", ".join(values.get("target", ())) or "none"}
