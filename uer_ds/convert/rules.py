"""The conversion table: a `Rule` pairs our tensor names with theirs, and one definition runs both ways.

A pattern may hold `{e}`, the number of an encoder layer, or `{d}`, the number of a decoder layer; the numbers of
layers are counted in the names. Every rule that is not optional must find its tensors; what no rule used is returned
to the caller, who refuses it. Nothing is read here (see `lazy`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from uer_ds.errors import UserError
from uer_ds.storage.lazy import LazyTensor, TensorMap, Tensors, combine

TO_THEIRS = "to theirs"
TO_OURS = "to ours"


@dataclass(frozen=True)
class Transform:
    """Two functions from tensors to tensors, each the inverse of the other."""

    to_theirs: Callable[..., Tensors]
    to_ours: Callable[..., Tensors]


FINE_TUNED = re.compile(r"output_layer|classifier\.|crf\.")  # beginnings of names that fine-tuning adds

SAME = Transform(lambda *tensors: tensors, lambda *tensors: tensors)


@dataclass(frozen=True)
class Rule:
    """One correspondence: our names, their names, and what happens to the values on the way."""

    ours: tuple[str, ...]
    theirs: tuple[str, ...]
    transform: Transform = SAME
    optional: bool = False

    def names(self, direction: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Input and output patterns for `direction`."""
        return (self.ours, self.theirs) if direction == TO_THEIRS else (self.theirs, self.ours)


@dataclass
class Converted:
    """What a table made of a checkpoint: the tensors, and which input names were used or missing."""

    tensors: dict[str, LazyTensor] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    missing: list[str] = field(default_factory=list)

    def require_all(self, where: str) -> None:
        """Raise `UserError` when a name that the table needs was not there."""
        if self.missing:
            raise UserError(f"{where}: {listed(self.missing)} missing; the file is incomplete or of another family.")


def rule(ours: str, theirs: str, transform: Transform = SAME, optional: bool = False) -> Rule:
    """A rule for one tensor."""
    return Rule((ours,), (theirs,), transform, optional)


def linear(ours: str, theirs: str, transform: Transform = SAME) -> list[Rule]:
    """Rules for the weight and the bias of a linear layer; `transform` is for the weight."""
    return [rule(f"{ours}.weight", f"{theirs}.weight", transform), rule(f"{ours}.bias", f"{theirs}.bias")]


def layer_norm(ours: str, theirs: str) -> list[Rule]:
    """Rules for scale and shift of a layer norm: `gamma` and `beta` here, `weight` and `bias` there."""
    return [rule(f"{ours}.gamma", f"{theirs}.weight"), rule(f"{ours}.beta", f"{theirs}.bias")]


def layer_counts(names: Iterable[str], patterns: Sequence[str]) -> dict[str, int]:
    """How many encoder (`e`) and decoder (`d`) layers there are: the highest number that a pattern matches plus one."""
    counts = {"e": 0, "d": 0}
    names = list(names)
    for pattern in patterns:
        for key in counts:
            if f"{{{key}}}" not in pattern:
                continue
            expression = re.compile(re.escape(pattern).replace(rf"\{{{key}\}}", r"(\d+)"))
            numbers = [int(match[1]) + 1 for match in map(expression.fullmatch, names) if match]
            counts[key] = max([counts[key], *numbers])
            if counts[key] > len(names):
                raise UserError(
                    f"{pattern} goes up to layer {counts[key] - 1}, but there are {len(names)} tensors; some lack."
                )
    return counts


def expand(rules: Iterable[Rule], counts: dict[str, int]) -> list[Rule]:
    """The rules with layer numbers filled in."""
    return [copy for item in rules for copy in _copies(item, counts)]


def _copies(item: Rule, counts: dict[str, int]) -> list[Rule]:
    for key, count in counts.items():
        if any(f"{{{key}}}" in pattern for pattern in (*item.ours, *item.theirs)):
            return [
                Rule(_numbered(item.ours, key, n), _numbered(item.theirs, key, n), item.transform, item.optional)
                for n in range(count)
            ]
    return [item]


def _numbered(patterns: tuple[str, ...], key: str, number: int) -> tuple[str, ...]:
    return tuple(pattern.replace(f"{{{key}}}", str(number)) for pattern in patterns)


def apply_rules(tensors: TensorMap, rules: Sequence[Rule], direction: str) -> Converted:
    """Run a table over a checkpoint in one direction."""
    patterns = [pattern for item in rules for pattern in item.names(direction)[0]]
    result = Converted()
    for item in expand(rules, layer_counts(tensors, patterns)):
        inputs, outputs = item.names(direction)
        missing = [name for name in inputs if name not in tensors]
        if missing:
            if not item.optional or len(missing) < len(inputs):
                result.missing += missing
            continue
        function = item.transform.to_theirs if direction == TO_THEIRS else item.transform.to_ours
        given = tuple(tensors[name] for name in inputs)
        made = given if item.transform is SAME else _transformed(inputs, given, function)
        if len(made) != len(outputs):
            raise _unfit(inputs, given)
        result.tensors.update(zip(outputs, made, strict=True))
        result.used.update(inputs)
    return result


def _transformed(
    names: tuple[str, ...], given: tuple[LazyTensor, ...], function: Callable[..., Tensors]
) -> tuple[LazyTensor, ...]:
    """What `function` makes of the tensors; shapes that it cannot take are the file's mistake."""
    try:
        return combine(given, function)
    except (RuntimeError, IndexError) as error:
        raise _unfit(names, given) from error


def _unfit(names: tuple[str, ...], given: tuple[LazyTensor, ...]) -> UserError:
    shapes = ", ".join(str(list(tensor.shape)) for tensor in given)
    return UserError(f"{listed(names)} of the shape {shapes}, which no model of this family has; the file is damaged.")


def is_our_head(name: str) -> bool:
    """Whether a tensor of ours belongs to a head and not to the body."""
    return name.startswith("target.") or FINE_TUNED.match(name) is not None


def listed(names: Iterable[str], limit: int = 5) -> str:
    """The first names of a list and how many more there are, with the verb: `a, b and 3 more are`."""
    names = list(names)
    shown = ", ".join(names[:limit])
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return f"{shown}{more} {'is' if len(names) == 1 else 'are'}"
