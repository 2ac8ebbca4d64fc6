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
from uer_ds.convert.families.catalogue import by_name, by_their_names, complete_config
from uer_ds.convert.families.family import Family
from uer_ds.convert.formats import Checkpoint
from uer_ds.convert.infer import infer_config, refuse_contradictions
from uer_ds.convert.mapping import Choice, map_to_ours
from uer_ds.convert.remainder import restore_remainder
from uer_ds.convert.transforms import fold_layer_norm, with_stream_norms
from uer_ds.errors import UserError
from uer_ds.models.old_names import is_fixed_table
from uer_ds.storage.lazy import LazyTensor, same_values

UER_EPS = 1e-6


@dataclass(frozen=True)
class Hints:
    """What the user said about a checkpoint, for what it does not say itself.

    `layernorm` ("normal" or "uer") is the kind on UER's side: what a `.bin` without configuration was trained with,
    and what a UER output will be run with. `ask_heads` gets the hidden size and returns the number of heads.
    """

    family: str | None = None
    choice: Choice = field(default_factory=Choice)
    heads_num: int | None = None
    layers_num: int | None = None
    layernorm: str | None = None
    ask_heads: Callable[[int], int] | None = None


@dataclass(frozen=True)
class OurModel:
    """A checkpoint under our names. `family` and `head` are known of Hugging Face's checkpoints only."""

    path: Path
    config: ModelConfig
    tensors: dict[str, LazyTensor]
    family: Family | None = None
    head: str | None = None
    dropped: tuple[str, ...] = ()

    def with_layernorm(self, kind: str) -> OurModel:
        """The same function with the layer norm `kind`; models without mean subtraction have no choice and stay."""
        found = (self.config.stream_0 or self.config).layernorm
        if kind == found or found not in ("normal", "uer"):
            return self
        tensors = fold_layer_norm(self.tensors, inverse=kind == "uer")
        return replace(self, config=_with_layernorm(self.config, kind), tensors=tensors)


def _with_layernorm(config: ModelConfig, kind: str) -> ModelConfig:
    if config.stream_0 is not None and config.stream_1 is not None:
        streams = (config.stream_0, config.stream_1)
        return config.replace(**{f"stream_{n}": _with_layernorm(stream, kind) for n, stream in enumerate(streams)})
    # Outside the root eps adds to the deviation, inside to the variance: eps and eps**2 agree where the deviation is
    # 0 and where it is large. UER-py's own eps is built in.
    return config.replace(layernorm=kind, layernorm_eps=UER_EPS if kind == "uer" else config.layernorm_eps**2)


def read_our_model(checkpoint: Checkpoint, hints: Hints) -> OurModel:
    """Bring a checkpoint under our names."""
    if checkpoint.is_ours:
        return _from_ours(checkpoint, hints)
    return _from_huggingface(checkpoint, hints)


def _from_ours(checkpoint: Checkpoint, hints: Hints) -> OurModel:
    where = str(checkpoint.config_path or checkpoint.path)
    stated = checkpoint.config or {}
    tensors = {name: tensor for name, tensor in checkpoint.tensors.items() if not is_fixed_table(name)}
    has_sinusoids = len(tensors) < len(checkpoint.tensors)  # files of 2021 carry their table along
    tensors = with_stream_norms(tensors)
    inferred = infer_config(tensors)
    refuse_contradictions(stated, inferred, where, {})
    ties = join_ties(tensors)
    values = {**complete_config({**inferred, **ties}), **stated, **ties}
    if has_sinusoids:
        values["sinusoidal_layout"] = "interleaved"
    for part in _parts(values):
        if not stated and hints.layernorm:
            part["layernorm"] = hints.layernorm
        _settle_sizes(part, checkpoint, hints)
    return OurModel(checkpoint.path, model_config_from_dict(values, where), tensors)


def _parts(values: dict[str, Any]) -> list[dict[str, Any]]:
    """The configurations with sizes: of both streams, or the one there is."""
    streams = [values[key] for key in ("stream_0", "stream_1") if values.get(key)]
    return streams or [values]


def join_ties(tensors: dict[str, LazyTensor]) -> dict[str, bool]:
    """Give tied names one tensor and say which are tied: by their values, for UER-py's files contradict their JSON."""
    source, target = "embedding.word.embedding.weight", "tgt_embedding.word.embedding.weight"
    found = {}
    if target in tensors:
        found["share_embedding"] = _join(tensors, {target: source})
    outputs = {"target.mlm.linear_2.weight": source, "target.lm.output_layer.weight": source}
    if target in tensors:
        outputs["target.lm.output_layer.weight"] = target
    streams = {
        name: name.replace("embedding_1.", "embedding_0.").replace("encoder_1.", "encoder_0.") for name in tensors
    }
    ties = {name: owner for name, owner in {**streams, **outputs}.items() if name in tensors and name != owner}
    if ties:
        found["tie_weights"] = _join(tensors, ties)
    return found


def _join(tensors: dict[str, LazyTensor], ties: dict[str, str]) -> bool:
    """Name -> owner: whether all are equal; then each name gets its owner's tensor."""
    if not all(owner in tensors and same_values(tensors[name], tensors[owner]) for name, owner in ties.items()):
        return False
    tensors.update({name: tensors[owner] for name, owner in ties.items()})
    return True


def _from_huggingface(checkpoint: Checkpoint, hints: Hints) -> OurModel:
    where = str(checkpoint.config_path or checkpoint.path)
    theirs = checkpoint.config or {}
    family = _their_family(checkpoint, hints)
    choice = replace(hints.choice, architecture=(theirs.get("architectures") or [None])[0])
    mapped = map_to_ours(family, checkpoint.tensors, theirs, choice, str(checkpoint.path))
    restore_remainder(checkpoint.path, mapped.tensors)
    inferred = infer_config(mapped.tensors)
    stated = family.config_to_ours(theirs, where)
    if family.fixed_layernorm_eps:
        stated["layernorm_eps"] = family.fixed_layernorm_eps
    refuse_contradictions(stated, inferred, where, {ours: names[0] for ours, names in family.config_names.items()})
    values = {**family.defaults, **family.structure, **inferred, **stated, **mapped.values}
    head = family.heads[mapped.head]
    values["target"] = head.target
    if head.data_processor:
        values["data_processor"] = head.data_processor
    values["tie_weights"] = mapped.tied
    _settle_sizes(values, checkpoint, hints)
    config = model_config_from_dict(values, where)
    return OurModel(checkpoint.path, config, mapped.tensors, family, mapped.head, mapped.dropped)


def _their_family(checkpoint: Checkpoint, hints: Hints) -> Family:
    if hints.family:
        return by_name(hints.family)
    model_type = (checkpoint.config or {}).get("model_type")
    return by_their_names(checkpoint.tensors, model_type, str(checkpoint.path))


def _settle_sizes(values: dict[str, Any], checkpoint: Checkpoint, hints: Hints) -> None:
    """Fill in what no tensor tells, from the hints: the number of heads, and of layers where all share one.

    `attention_width` and `key_width` (heads times head size) are no keys of ours; they end here.
    """
    width, key_width = values.pop("attention_width", None), values.pop("key_width", None)
    if width is None:
        return
    hidden = values["hidden_size"]
    for key, hint in (("layers_num", hints.layers_num), ("heads_num", hints.heads_num)):
        if hint is not None and values.setdefault(key, hint) != hint:
            raise UserError(f"{checkpoint.path}: --{key} is {hint}, but the model has {values[key]}; leave it out.")
    if values.get("layers_num") is None:
        raise UserError(f"{checkpoint.path}: its layers are all one and no file tells their number; give --layers_num.")
    if values.get("heads_num") is None:
        values["heads_num"] = hints.ask_heads(hidden) if hints.ask_heads else None
    heads = values["heads_num"]
    if heads is None:
        raise UserError(
            f"{checkpoint.path}: the number of attention heads is in no file; give --heads_num "
            f"(usually hidden size / 64: {hidden} / 64 = {hidden / 64:g}) or the model's JSON with --config_path."
        )
    if width % heads:
        raise UserError(f"{checkpoint.path}: {heads} attention heads do not divide the width {width} of its matrices.")
    if width != hidden:
        values["attention_head_size"] = width // heads
    if key_width != width:
        values["local_kv_heads_num"] = key_width * heads // width
