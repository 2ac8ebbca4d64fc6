"""All families, and how a checkpoint finds its own: by `model_type`, by configuration or by tensor names."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from uer_ds.config.model import ModelConfig
from uer_ds.convert.families.bert import BERT
from uer_ds.convert.families.family import Family
from uer_ds.errors import UserError, unknown_name

FAMILIES = {family.name: family for family in (BERT,)}


def by_name(name: str) -> Family:
    """The family that the user named."""
    if name not in FAMILIES:
        raise unknown_name("family", name, FAMILIES, "--family")
    return FAMILIES[name]


def by_model_type(model_type: str, where: str) -> Family:
    """The family of a Hugging Face configuration."""
    for family in FAMILIES.values():
        if model_type in family.model_types:
            return family
    known = [name for family in FAMILIES.values() for name in family.model_types]
    raise unknown_name("model_type", model_type, known, where)


def by_config(config: ModelConfig, where: str) -> Family:
    """The family of one of our configurations; otherwise a `UserError` naming the nearest and the differences."""
    differences = {family.name: family.differences(config) for family in FAMILIES.values()}
    nearest = min(differences, key=lambda name: len(differences[name]))
    if not differences[nearest]:
        return FAMILIES[nearest]
    details = ", ".join(
        f"{key} {found!r} instead of {expected!r}" for key, (found, expected) in differences[nearest].items()
    )
    raise UserError(
        f"{where}: no Hugging Face model computes this; the nearest family is {nearest}, but here {details}; "
        "convert with --to uer or --to safetensors."
    )


def complete_config(inferred: dict[str, Any]) -> dict[str, Any]:
    """Add to what the tensors tell what the family implies (mask, attention scale, activation)."""

    def disagreements(family: Family) -> int:
        return sum(inferred[key] != value for key, value in family.structure.items() if key in inferred)

    family = min(FAMILIES.values(), key=disagreements)
    return {**family.defaults, **family.structure, **inferred}


def by_their_names(names: Iterable[str], where: str) -> Family:
    """The family whose tensor names a Hugging Face file without a configuration has."""
    names = list(names)
    matches = {family.name: _known_share(family, names) for family in FAMILIES.values()}
    best = max(matches, key=lambda name: matches[name])
    if matches[best] > 0.5:
        return FAMILIES[best]
    raise UserError(
        f"{where}: its tensor names (such as {names[0]!r}) are of no known family, the nearest is {best}; "
        f"known families are: {', '.join(FAMILIES)}."
    )


def _known_share(family: Family, names: list[str]) -> float:
    patterns = {name.replace("{e}", "0").replace("{d}", "0") for item in family.rules for name in item.theirs}
    found = sum(pattern in names or pattern.removeprefix(family.prefix) in names for pattern in patterns)
    return found / len(patterns)
