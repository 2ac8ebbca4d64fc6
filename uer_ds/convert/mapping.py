"""From one layout of names to the other with the table of a family: heads, ties, copies and leftovers.

Every tensor must be used. What a family knows to carry nothing (buffers) is dropped and reported; anything else that
is left over is refused by name, unless the user's expression allows it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from uer_ds.config.model import ModelConfig
from uer_ds.convert.families.family import Family, Head
from uer_ds.convert.rules import TO_OURS, TO_THEIRS, apply_rules, is_our_head, listed
from uer_ds.errors import UserError, unknown_name
from uer_ds.storage.lazy import LazyTensor, TensorMap, same_values


@dataclass(frozen=True)
class Mapped:
    """What a table made of a checkpoint.

    Attributes:
        tensors: under the new names.
        head: the head that was found or chosen.
        tied: the output layer is the word table.
        dropped: names that were not converted.
        values: keys of our configuration that only their tensors tell.
        notes: sentences for the user.
    """

    tensors: dict[str, LazyTensor]
    head: str
    tied: bool
    dropped: tuple[str, ...]
    values: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Choice:
    """What the user said about heads and leftovers, and what decides between heads that share their names.

    Attributes:
        head, ignore: of the user.
        architecture: of their configuration.
        has_labels: names of classes are known, so an output layer for each token is a tagger's.
    """

    head: str | None = None
    ignore: str | None = None
    architecture: str | None = None
    has_labels: bool = False


def map_to_theirs(family: Family, tensors: TensorMap, config: ModelConfig, choice: Choice, where: str) -> Mapped:
    """Our tensors as the family's Hugging Face model has them."""
    untied, tied = _without_ties(family, tensors, where)
    head = _choose_head(family, untied, TO_THEIRS, choice, where)
    family.prepare(untied, config, tied)
    converted = apply_rules(untied, family.table(head, config.head_size), TO_THEIRS)
    converted.require_all(where)
    dropped = _leftovers(family, set(untied) - converted.used, TO_THEIRS, choice, where)
    result = {**converted.tensors, **family.extra_theirs(config)}
    for group in family.copies:
        if group.name in result and (group.written == "always" or not tied):
            result.update(dict.fromkeys(group.copies, result[group.name]))
    notes: tuple[str, ...] = ()
    if head == "question_answering" and not choice.head:
        notes = (
            "output_layer has two rows and no names: start and end of answers; --head token_classification if not",
        )
    return Mapped(result, head, tied, dropped, notes=notes)


def map_to_ours(
    family: Family,
    tensors: TensorMap,
    theirs: Mapping[str, Any],
    choice: Choice,
    where: str,
    head_size: Callable[[TensorMap], int | None],
) -> Mapped:
    """Their tensors under our names; tied names are all present and share one tensor.

    Args:
        theirs: their config.json.
        head_size: width of a head, from the tensors under their present names; None where no rule needs it.
    """
    named = canonical_names(family, tensors)
    dropped = [name for name in named if family.is_unused(name)]
    useful = {name: tensor for name, tensor in named.items() if not family.is_unused(name)}
    used_copies = _fill_copies(family, useful)
    head = _choose_head(family, useful, TO_OURS, choice, where)
    converted = apply_rules(useful, family.table(head, head_size(useful)), TO_OURS)
    converted.require_all(where)
    dropped += _leftovers(family, set(useful) - converted.used - used_copies, TO_OURS, choice, where)
    tied = _add_ties(family, converted.tensors, family.heads[head])
    family.finish(converted.tensors, theirs)
    return Mapped(converted.tensors, head, tied, tuple(dropped), family.values_of_theirs(named))


def canonical_names(family: Family, tensors: TensorMap) -> dict[str, LazyTensor]:
    """Their names as today's models with a head spell them: old layer norm names, files of bare models."""
    renamed = {}
    for name, tensor in tensors.items():
        name = re.sub(r"(?i:(layer_?norm))\.gamma$", r"\1.weight", name)
        renamed[re.sub(r"(?i:(layer_?norm))\.beta$", r"\1.bias", name)] = tensor
    if any(name.startswith(family.prefix) for name in renamed):
        return renamed
    heads = tuple(name for head in family.heads.values() for item in head.rules for name in item.theirs)
    return {name if name in heads else family.prefix + name: tensor for name, tensor in renamed.items()}


def _fill_copies(family: Family, tensors: dict[str, LazyTensor]) -> set[str]:
    """Put a copy in place of an absent tensor; returns the names that are only copies."""
    names = set()
    for group in family.copies:
        present = [name for name in group.copies if name in tensors]
        if present:
            tensors.setdefault(group.name, tensors[present[0]])
        names.update(present)
    return names


def _without_ties(family: Family, tensors: TensorMap, where: str) -> tuple[dict[str, LazyTensor], bool]:
    """Leave out tied names; whether they are really tied is found by comparing the values."""
    rest = dict(tensors)
    tied = False
    for tie in family.ties:
        if tie.name not in rest or tie.owner not in rest:
            continue
        equal = same_values(rest[tie.name], rest[tie.owner])
        if tie.always and not equal:
            raise UserError(
                f"{where}: {tie.name} differs from {tie.owner}; Hugging Face's {family.name} has one for both."
            )
        if equal and (family.ties_output or tie.always):
            del rest[tie.name]
            tied = tied or not tie.always
    return rest, tied


def _add_ties(family: Family, tensors: dict[str, LazyTensor], head: Head) -> bool:
    """Give tied names their tensor; True when the output layer is the word table."""
    needed = {name for item in head.rules for name in item.ours}
    tied = False
    for tie in family.ties:
        if tie.name not in needed and not tie.always:
            continue
        if tie.name not in tensors or same_values(tensors[tie.name], tensors[tie.owner]):
            tensors[tie.name] = tensors[tie.owner]
            tied = tied or not tie.always
    return tied


def _choose_head(family: Family, tensors: TensorMap, direction: str, choice: Choice, where: str) -> str:
    """The head that the user named, or the one whose tensors are all there and leave the fewest over."""
    if choice.head is not None:
        if choice.head not in family.heads:
            raise unknown_name("head", choice.head, family.heads, f"--head of family {family.name}")
        return choice.head
    complete = [name for name, head in family.heads.items() if _is_complete(head, tensors, direction)]
    candidates = [name for name in complete if _has_rows(name, tensors, choice.has_labels)]
    heads = {name: set(_names(family.heads[name], direction)) for name in candidates}
    of_heads = {name for names in heads.values() for name in names if name in tensors and "pooler" not in name}

    def preference(name: str) -> tuple[int, bool, int]:
        """Few tensors left over, then the class that their configuration names, then many tensors used."""
        named = family.heads[name].architecture == choice.architecture
        return len(of_heads - heads[name]), not named, -len(heads[name])

    return min(candidates, key=preference)


def _names(head: Head, direction: str) -> list[str]:
    return [name for item in head.rules for name in item.names(direction)[0]]


def _is_complete(head: Head, tensors: TensorMap, direction: str) -> bool:
    needed = [name for item in head.rules if not item.optional for name in item.names(direction)[0]]
    return all(name in tensors for name in needed)


def _has_rows(head: str, tensors: TensorMap, has_labels: bool) -> bool:
    """Heads that share the name `output_layer`: two rows without names are start and end, one row scores a text."""
    output = tensors.get("output_layer.weight")
    if output is None or head not in ("question_answering", "token_classification"):
        return True
    return not has_labels and output.shape[0] == 2 if head == "question_answering" else output.shape[0] > 1


def _leftovers(family: Family, names: Iterable[str], direction: str, choice: Choice, where: str) -> tuple[str, ...]:
    """The unused names that may be dropped; the others are refused."""
    names = sorted(names)
    allowed = [name for name in names if _may_drop(family, name, direction, choice)]
    refused = [name for name in names if name not in allowed]
    for name in refused:
        reason = next((reason for pattern, reason in family.lacks.items() if re.fullmatch(pattern, name)), None)
        if reason:
            raise UserError(f"{where}: {name} has no place: {reason}; convert the body alone with --head none.")
    if refused:
        raise UserError(
            f"{where}: {listed(refused)} not part of a {family.name} model that can be converted; "
            "allow losing them with --ignore REGEX or choose another --head."
        )
    return tuple(allowed)


def _may_drop(family: Family, name: str, direction: str, choice: Choice) -> bool:
    if choice.ignore is not None and re.search(choice.ignore, name):
        return True
    if choice.head is not None:  # the user chose a head: the others go
        return _is_head(family, name, direction)
    return direction == TO_OURS and "pooler" in name  # Hugging Face's models save a pooler that no head uses


def _is_head(family: Family, name: str, direction: str) -> bool:
    """Whether a name belongs to a head, known or not."""
    if direction == TO_THEIRS:
        return is_our_head(name)
    named = {pattern for head in family.heads.values() for item in head.rules for pattern in item.names(direction)[0]}
    return name in named or (family.prefix != "" and not name.startswith(family.prefix))
