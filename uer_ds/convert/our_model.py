"""Any checkpoint as a model of ours: our names, one `ModelConfig`, and the sizes of both in agreement.

A configuration beside the weights is believed, and checked against the shapes. Where there is none, the tensors tell
most of it and the family the rest; what is guessed in this way is noted.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from uer_ds.config.model import ModelConfig, model_config_from_dict
from uer_ds.convert.families.catalogue import by_name, by_their_names, complete_config
from uer_ds.convert.families.family import Family
from uer_ds.convert.formats import Checkpoint
from uer_ds.convert.infer import infer_config, refuse_contradictions
from uer_ds.convert.mapping import map_to_ours
from uer_ds.convert.remainder import restore_remainder
from uer_ds.convert.sentence_files import saved_pooling
from uer_ds.convert.sizes import Hints, head_size, settle_sizes
from uer_ds.convert.transforms import fold_layer_norm, with_stream_norms
from uer_ds.errors import UserError
from uer_ds.models.old_names import is_fixed_table
from uer_ds.storage.folders import find_weights, has_weights
from uer_ds.storage.lazy import LazyTensor, same_values

UER_EPS = 1e-6
SEVERAL_TEXTS = ("ForMultipleChoice", "DoubleHeadsModel")  # endings of classes of theirs


@dataclass(frozen=True)
class OurModel:
    """A checkpoint under our names. `family` and `head` are known of Hugging Face's checkpoints only.

    Attributes:
        path: what was opened.
        notes: what was guessed, as sentences for the user.
        folder: where `transformers` finds the same model, if it can.
    """

    path: Path
    config: ModelConfig
    tensors: dict[str, LazyTensor]
    family: Family | None = None
    head: str | None = None
    dropped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    folder: Path | None = None

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
    stated = {key: value for key, value in (checkpoint.config or {}).items() if value is not None}
    tensors = {name: tensor for name, tensor in checkpoint.tensors.items() if not is_fixed_table(name)}
    has_sinusoids = len(tensors) < len(checkpoint.tensors)  # files of 2021 carry their table along
    tensors = with_stream_norms(tensors)
    inferred = _inferred(tensors, where)
    refuse_contradictions(stated, inferred, where, {})
    ties = join_ties(tensors)
    # A configuration is whole: what it leaves out has its default, and is not guessed.
    values = {**(inferred if checkpoint.config else complete_config({**inferred, **ties})), **stated, **ties}
    values |= _targets(inferred["target"], stated)
    if has_sinusoids:
        values["sinusoidal_layout"] = "interleaved"
    for part in _parts(values):
        if not checkpoint.config and hints.layernorm:
            part["layernorm"] = hints.layernorm
        settle_sizes(part, str(checkpoint.path), hints, {})
    config = _made(values, where, checkpoint)
    notes = () if checkpoint.config else _guesses(config, tensors, hints)
    return OurModel(checkpoint.path, config, tensors, notes=notes)


def _inferred(tensors: dict[str, LazyTensor], where: str) -> dict[str, Any]:
    try:
        return infer_config(tensors)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def _targets(found: tuple[str, ...], stated: dict[str, Any]) -> dict[str, Any]:
    """The targets whose tensors are there. A configuration may be of the same body with other ones (fine-tuned)."""
    said = stated.get("target", found)
    if not isinstance(said, (list, tuple)):
        return {}  # the configuration is refused
    if set(said) == set(found):
        return {"target": said}
    return {"target": found, "data_processor": None}


def _made(values: dict[str, Any], where: str, checkpoint: Checkpoint) -> ModelConfig:
    """The configuration; where none came with the weights, what is wrong with it is that."""
    try:
        return model_config_from_dict(values, where)
    except UserError as error:
        if checkpoint.config:
            raise
        reason = str(error).removesuffix(".")
        raise UserError(f"{reason} (no JSON came with the weights: give the model's with --config_path).") from None


def _guesses(config: ModelConfig, tensors: dict[str, LazyTensor], hints: Hints) -> tuple[str, ...]:
    """What no tensor tells and no configuration said."""
    part = config.stream_0 or config
    notes = []
    if part.encoder == "transformer":
        notes.append(
            f"the activation is in no file; hidden_act {part.hidden_act} was taken, give the model's JSON with "
            "--config_path if it has another one"
        )
    if not hints.layernorm and any(name.endswith(".gamma") for name in tensors):
        notes.append(
            "the kind of layer norm is in no file; the standard one was taken, give --layernorm uer if UER-py trained "
            "the model"
        )
    return tuple(notes)


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
    architecture = _architecture(theirs)
    if (architecture or "").endswith(SEVERAL_TEXTS) and not hints.choice.head:
        raise UserError(
            f"{where}: {architecture} scores several texts together, a head that has no counterpart here; convert the "
            "encoder alone with --head none."
        )
    stated = family.config_to_ours(theirs, where)
    width = functools.partial(
        head_size, family, stated=stated.get("heads_num"), hints=hints, where=str(checkpoint.path)
    )
    choice = replace(hints.choice, architecture=architecture)
    mapped = map_to_ours(family, checkpoint.tensors, theirs, choice, str(checkpoint.path), width)
    restore_remainder(checkpoint.folder, mapped.tensors)
    inferred = _inferred(mapped.tensors, where)
    if family.fixed_layernorm_eps:
        stated["layernorm_eps"] = family.fixed_layernorm_eps
    spelt = {ours: names[0] for ours, names in family.config_names.items()}
    refuse_contradictions(stated, inferred, where, spelt)
    values = {**family.defaults, **family.structure, **inferred, **stated, **mapped.values}
    head = family.heads[mapped.head]
    values["target"] = head.target
    if head.data_processor:
        values["data_processor"] = head.data_processor
    values["tie_weights"] = mapped.tied
    pooling = saved_pooling(checkpoint.folder)
    if pooling:
        values["pooling"] = pooling
    settle_sizes(values, where, hints, spelt)
    config = _made(values, where, checkpoint)
    notes = mapped.notes
    if not checkpoint.config:
        notes += (
            f"no config.json came with the weights; hidden_act {config.hidden_act} and layer norms with epsilon "
            f"{config.layernorm_eps:g} were taken, as {family.name} models usually have them",
        )
    return OurModel(
        checkpoint.path, config, mapped.tensors, family, mapped.head, mapped.dropped, notes, _readable(checkpoint)
    )


def _readable(checkpoint: Checkpoint) -> Path | None:
    """The folder from which `transformers` builds the model of `checkpoint`, if it can: of these weights, with JSON."""
    folder = checkpoint.folder
    if folder is None or checkpoint.config_path != folder / "config.json" or not has_weights(folder):
        return None
    return folder if checkpoint.path in (folder, find_weights(folder)) else None


def _architecture(theirs: dict[str, Any]) -> str | None:
    """The class that their configuration names."""
    named = theirs.get("architectures")
    return str(named[0]) if isinstance(named, list) and named else None


def _their_family(checkpoint: Checkpoint, hints: Hints) -> Family:
    if hints.family:
        return by_name(hints.family)
    model_type = (checkpoint.config or {}).get("model_type")
    return by_their_names(checkpoint.tensors, model_type, str(checkpoint.path))
