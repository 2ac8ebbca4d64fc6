"""What turns a frozen dataclass into command-line options and JSON keys: one definition, three readers.

A field made by `option` carries its help text, choices and range, so the parser (`uer_ds.cli.parser`), the JSON reader
below and the generated reference all say the same thing. Ranges are kept by `Options`, the base of every config class.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, TypeVar

from uer_ds.errors import UserError, unknown_name

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Range:
    """The numbers that an option may be: `least` and `most` are among them, `above` and `below` are not.

    NaN and the infinite ones are in no range.
    """

    least: float = -math.inf
    above: float = -math.inf
    most: float = math.inf
    below: float = math.inf

    def __contains__(self, number: float) -> bool:
        return self.least <= number <= self.most and self.above < number < self.below

    @property
    def is_news(self) -> bool:
        """Whether it says more than that something is a count or a size."""
        return min(self.most, self.below) < math.inf or self.least > 1

    def __str__(self) -> str:
        if self.most == self.below:
            return f"{self.least} or more" if self.above < self.least else f"a number above {self.above}"
        low, at = (f"from {self.least} to", "") if self.above < self.least else (f"above {self.above} and", "at most ")
        return f"a number {low} {f'below {self.below}' if self.below < self.most else f'{at}{self.most}'}"


def option(
    default: Any,
    help: str,
    choices: Iterable[str] | None = None,
    internal: bool = False,
    words: Mapping[str, Any] | None = None,
    **bounds: float,
) -> Any:
    """A dataclass field that is also an option.

    `choices` may be a `Registry`. `internal` keeps it off the command line (it is still a JSON key). `words`: what may
    be written instead of a value, and the value that it stands for. `bounds` (least, above, most, below) make the
    `Range` that a number must be in, each number of a list; None and what words stand for need not.
    """
    limits = Range(**bounds) if bounds else None
    metadata = {"help": help, "choices": choices, "internal": internal, "words": words or {}, "range": limits}
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class Options:
    """The base of every config class: no number outside its option's range."""

    DASHES: ClassVar[str] = "--"
    """What stands before an option's name in errors; nothing for keys of a JSON file."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            limits, value = field.metadata.get("range"), getattr(self, field.name)
            if limits is None or value is None or value in field.metadata["words"].values():
                continue
            many = isinstance(value, tuple)
            for number in value if many else (value,):
                if number not in limits:
                    found = f"{self.DASHES}{field.name} {'has' if many else 'is'} {number}"
                    raise UserError(f"{found}; expected {limits}.")


def prefixed(cls: type, prefix: str, name: str) -> type:
    """A config class with the options of `cls`, each name behind `prefix`: the same things for another side."""
    hints = typing.get_type_hints(cls)
    options = [
        (prefix + f.name, hints[f.name], dataclasses.field(default=f.default, metadata=f.metadata))
        for f in dataclasses.fields(cls)
    ]
    return dataclasses.make_dataclass(name, options, bases=(Options,), frozen=True)


@dataclasses.dataclass(frozen=True)
class OptionType:
    """The type of an option as its readers need it: `kind` is bool, int, float, str or an object; `many`: a list of
    them."""

    kind: Any
    many: bool
    optional: bool


def option_type(annotation: Any) -> OptionType:
    """Read `int`, `int | None`, `tuple[str, ...]`, `bool`, ... as an `OptionType`."""
    optional = False
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        members = [a for a in typing.get_args(annotation) if a is not type(None)]
        optional = len(members) < len(typing.get_args(annotation))
        annotation = members[0]
    if typing.get_origin(annotation) is tuple:
        return OptionType(typing.get_args(annotation)[0], True, optional)
    return OptionType(annotation, False, optional)


def option_types(cls: type) -> dict[str, OptionType]:
    """Field name -> `OptionType` for a config dataclass."""
    hints = typing.get_type_hints(cls)
    return {f.name: option_type(hints[f.name]) for f in dataclasses.fields(cls)}


def read_values(cls: type[T], values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Check keys, types and choices of `values` (from JSON or the command line) for the config class `cls`.

    `where` names the file or the command line in errors. Lists become tuples. Raises `UserError` for an unknown key
    (with the nearest one), a value of another type or one outside the choices.
    """
    declared = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    expected = option_types(cls)
    result: dict[str, Any] = {}
    for key, value in values.items():
        if key not in declared:
            raise unknown_name("key", key, declared, where)
        words = declared[key].metadata.get("words", {})
        named = isinstance(value, str) and value in words
        result[key] = words[value] if named else _read_value(key, value, expected[key], where)
        choices = declared[key].metadata.get("choices")
        if choices is not None and result[key] is not None:
            for name in result[key] if expected[key].many else (result[key],):
                if name not in choices:
                    raise unknown_name(key, name, choices, where)
    return result


def _read_value(key: str, value: Any, expected: OptionType, where: str) -> Any:
    if value is None:
        if expected.optional:
            return None
        raise UserError(f"{where}: {key} is null; expected {_type_name(expected)}.")
    if expected.many:
        items = [value] if isinstance(value, str) else value
        if not isinstance(items, (list, tuple)):
            raise UserError(f"{where}: {key} is {value!r}; expected {_type_name(expected)}.")
        return tuple(_read_value(key, item, OptionType(expected.kind, False, False), where) for item in items)
    if expected.kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if dataclasses.is_dataclass(expected.kind) and isinstance(value, Mapping):
        return _read_object(expected.kind, value, f"{where}: {key}")
    if not isinstance(value, expected.kind) or (expected.kind is int and isinstance(value, bool)):
        raise UserError(f"{where}: {key} is {value!r}; expected {_type_name(expected)}.")
    return value


def _read_object(kind: Any, value: Mapping[str, Any], where: str) -> Any:
    values = read_values(kind, value, where)
    try:
        return kind(**values)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def _type_name(expected: OptionType) -> str:
    names = {bool: "true or false", int: "an integer", float: "a number", str: "a string"}
    name = names.get(expected.kind, "an object")
    return f"a list ({name} each)" if expected.many else name


def non_default_values(config: Any) -> dict[str, Any]:
    """The fields of `config` that differ from their defaults, ready for `json.dump` (nested configs as objects)."""
    result = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if value != field.default:
            result[field.name] = to_json(value)
    return result


def to_json(value: Any) -> Any:
    """A config value as plain JSON data."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return non_default_values(value)
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    return value
