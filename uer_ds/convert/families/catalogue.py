"""All families, and how a checkpoint finds its own: by `model_type`, by configuration or by tensor names."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from uer_ds.config.model import ModelConfig
from uer_ds.convert.families.albert import ALBERT
from uer_ds.convert.families.bart import BART, PEGASUS
from uer_ds.convert.families.bert import BERT
from uer_ds.convert.families.family import Family
from uer_ds.convert.families.gpt2 import GPT2
from uer_ds.convert.families.llama import LLAMA
from uer_ds.convert.families.roberta import PUBLIC_ROWS, ROBERTA, XLM_ROBERTA
from uer_ds.convert.families.t5 import MT5, T5, T5_V1_1
from uer_ds.errors import UserError, unknown_name

# Where several families have one structure the first is chosen; --family names another.
_ALL = (BERT, ALBERT, GPT2, T5, T5_V1_1, MT5, BART, PEGASUS, XLM_ROBERTA, ROBERTA, LLAMA)
FAMILIES = {family.name: family for family in _ALL}


def by_name(name: str) -> Family:
    """The family that the user named."""
    if name not in FAMILIES:
        raise unknown_name("family", name, FAMILIES, "--family")
    return FAMILIES[name]


def family_of(config: ModelConfig, where: str, name: str | None = None) -> Family:
    """The family of one of our configurations, `name` or any; a `UserError` names the nearest and the differences."""
    if config.encoder != "transformer":
        raise UserError(
            f"{where}: Hugging Face has no {config.encoder} models; convert with --to uer or --to safetensors."
        )
    families = [by_name(name)] if name else list(FAMILIES.values())
    differences = {family.name: family.differences(config) for family in families}
    nearest = min(differences, key=lambda name: len(differences[name]))
    if differences[nearest]:
        details = ", ".join(
            f"{key} {found!r} instead of {expected!r}" for key, (found, expected) in differences[nearest].items()
        )
        computes = f"is no {name} model" if name else "no Hugging Face model computes this"
        raise UserError(
            f"{where}: {computes}; the nearest family is {nearest}, but here {details}; "
            "convert with --to uer or --to safetensors."
        )
    if not name and nearest == BERT.name and config.max_seq_length == PUBLIC_ROWS:
        return XLM_ROBERTA
    return FAMILIES[nearest]


def complete_config(inferred: dict[str, Any]) -> dict[str, Any]:
    """Add to what the tensors tell what their family implies (attention scale, activation), if it is one of ours."""
    if inferred["encoder"] != "transformer":
        return inferred
    fitting = [
        family
        for family in FAMILIES.values()
        if all(inferred.get(key, value) == value for key, value in family.structure.items())
    ]
    if not fitting:
        return inferred
    family = max(fitting, key=lambda family: len(family.structure))  # BERT's structure is a part of ALBERT's
    return {**family.defaults, **family.structure, **inferred}


def by_their_names(names: Iterable[str], model_type: str | None, where: str) -> Family:
    """The family of a Hugging Face checkpoint: among those of its `model_type` the one with its tensor names."""
    names = list(names)
    candidates = [family for family in FAMILIES.values() if model_type in (None, *family.model_types)]
    if not candidates:
        known = [name for family in FAMILIES.values() for name in family.model_types]
        raise unknown_name("model_type", str(model_type), dict.fromkeys(known), where)
    best = max(candidates, key=lambda family: _known_share(family, names))
    if model_type is None and _known_share(best, names) < 0.5:
        lacking = sorted(name for name in _first_names(best) if name not in names)
        strange = [name for name in names if name not in _first_names(best)]
        unknown = f" and {strange[0]} is unknown there" if strange else ""
        raise UserError(
            f"{where}: the tensors are of no known family; the nearest is {best.name}, but {lacking[0]} is missing"
            f"{unknown} (families: {', '.join(FAMILIES)})."
        )
    return best


def _first_names(family: Family) -> set[str]:
    """A family's names with a head, those of the first layers only."""
    return {name.replace("{e}", "0").replace("{d}", "0") for item in family.rules for name in item.theirs}


def _known_share(family: Family, names: list[str]) -> float:
    """How many of the family's names the checkpoint has, of its first layers."""
    patterns = _first_names(family)
    found = sum(pattern in names or pattern.removeprefix(family.prefix) in names for pattern in patterns)
    return found / len(patterns)
