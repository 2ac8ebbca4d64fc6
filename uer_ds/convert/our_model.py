"""Any checkpoint as a model of ours: our names, one `ModelConfig`, and the sizes of both in agreement.

A configuration beside the weights is believed where it speaks, and checked against the shapes; what it leaves out
comes from the tensors and from the family. Only the number of heads may have to be asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from uer_ds.config.model import ModelConfig, model_config_from_dict
from uer_ds.convert.families.catalogue import by_model_type, by_name, by_their_names, complete_config
from uer_ds.convert.families.family import Family
from uer_ds.convert.formats import Checkpoint
from uer_ds.convert.infer import infer_config, refuse_contradictions
from uer_ds.convert.lazy import LazyTensor
from uer_ds.convert.mapping import Choice, map_to_ours
from uer_ds.convert.transforms import fold_layer_norm
from uer_ds.errors import UserError


@dataclass(frozen=True)
class Hints:
    """What the user said about a checkpoint, for what it does not say itself.

    `layernorm` ("normal" or "uer") is the kind on UER's side: what a `.bin` without configuration was trained with,
    and what a UER output will be run with. `ask_heads` gets the hidden size and returns the number of heads.
    """

    family: str | None = None
    choice: Choice = field(default_factory=Choice)
    heads_num: int | None = None
    layernorm: str | None = None
    ask_heads: Callable[[int], int] | None = None


@dataclass(frozen=True)
class OurModel:
    """A checkpoint under our names. `family` is None where it only becomes known from the configuration."""

    path: Path
    config: ModelConfig
    tensors: dict[str, LazyTensor]
    family: Family | None = None
    dropped: tuple[str, ...] = ()

    def with_layernorm(self, kind: str) -> OurModel:
        """The same function with the layer norm `kind`; models without mean subtraction have no choice and stay."""
        found = self.config.layernorm
        if kind == found or found not in ("normal", "uer"):
            return self
        to_uer = kind == "uer"
        # Outside the root eps adds to the deviation, inside to the variance: eps and eps**2 agree where the deviation
        # is 0 and where it is large.
        eps = self.config.layernorm_eps ** (0.5 if to_uer else 2.0)
        config = self.config.replace(layernorm=kind, layernorm_eps=eps)
        return replace(self, config=config, tensors=fold_layer_norm(self.tensors, inverse=to_uer))


def read_our_model(checkpoint: Checkpoint, hints: Hints) -> OurModel:
    """Bring a checkpoint under our names."""
    if checkpoint.is_ours:
        return _from_ours(checkpoint, hints)
    return _from_huggingface(checkpoint, hints)


def _from_ours(checkpoint: Checkpoint, hints: Hints) -> OurModel:
    where = str(checkpoint.config_path or checkpoint.path)
    stated = checkpoint.config or {}
    inferred = infer_config(checkpoint.tensors)
    refuse_contradictions(stated, inferred, where, {})
    values = {**complete_config(inferred), **stated}
    if not stated and hints.layernorm:
        values["layernorm"] = hints.layernorm
    _settle_heads(values, checkpoint, hints)
    config = model_config_from_dict(values, where)
    return OurModel(checkpoint.path, config, checkpoint.tensors)


def _from_huggingface(checkpoint: Checkpoint, hints: Hints) -> OurModel:
    where = str(checkpoint.config_path or checkpoint.path)
    theirs = checkpoint.config or {}
    family = _their_family(checkpoint, hints)
    architecture = (theirs.get("architectures") or [None])[0]
    mapped = map_to_ours(
        family, checkpoint.tensors, replace(hints.choice, architecture=architecture), str(checkpoint.path)
    )
    inferred = infer_config(mapped.tensors)
    stated = family.config_to_ours(theirs)
    refuse_contradictions(stated, inferred, where, dict(family.config_names))
    values = {**family.defaults, **family.structure, **inferred, **stated}
    values["target"] = family.heads[mapped.head].target or ("cls",)
    values["tie_weights"] = mapped.tied
    _settle_heads(values, checkpoint, hints)
    config = model_config_from_dict(values, where)
    return OurModel(checkpoint.path, config, mapped.tensors, family, mapped.dropped)


def _their_family(checkpoint: Checkpoint, hints: Hints) -> Family:
    if hints.family:
        return by_name(hints.family)
    if checkpoint.config and "model_type" in checkpoint.config:
        return by_model_type(checkpoint.config["model_type"], str(checkpoint.config_path))
    return by_their_names(checkpoint.tensors, str(checkpoint.path))


def _settle_heads(values: dict[str, Any], checkpoint: Checkpoint, hints: Hints) -> None:
    """Fill in the number of heads (and their size) from the hints, or ask; `attention_width` is not a key of ours."""
    width = values.pop("attention_width", None)
    if width is None:
        return
    hidden = values["hidden_size"]
    if values.get("heads_num") is None:
        values["heads_num"] = hints.heads_num or (hints.ask_heads(hidden) if hints.ask_heads else None)
    if values["heads_num"] is None:
        raise UserError(
            f"{checkpoint.path}: the number of attention heads is in no file; give --heads_num "
            f"(usually hidden size / 64: {hidden} / 64 = {hidden / 64:g}) or the model's JSON with --config_path."
        )
    if width != hidden:
        values["attention_head_size"] = width // values["heads_num"]
