"""Config dataclasses -> argparse options, and back to the values that were really given.

An option that is absent from the command line is absent from the result, so that defaults < JSON < flags holds without
guessing.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from uer_ds.config.options import OptionType, option_types, read_values
from uer_ds.errors import UserError, nearest

NAMES = "names"
"""An attribute of an argparse action: what its values may be, for completion."""

INVALID_CHOICE = re.compile(r"invalid choice: '(.*)' \(choose from (.*)\)")
"""Argparse's words for a name that is not among the choices."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose mistakes are `UserError`s of one sentence, offering the nearest name.

    Options are written out: `--epochs` for `--epochs_num` is a mistake, not an abbreviation.
    """

    def __init__(self, **options: Any):
        super().__init__(**{"allow_abbrev": False, **options})

    def error(self, message: str) -> Any:
        prefix = "unrecognized arguments: "
        if message.startswith(prefix):
            unknown = message[len(prefix) :].split()[0]
            guess = nearest(unknown.split("=")[0], sorted(_options(self)))
            message = f"unknown option {unknown}" + (f" (did you mean {guess}?)" if guess else "")
        elif found := INVALID_CHOICE.search(message):
            guess = nearest(found[1], [choice.strip(" '") for choice in found[2].split(",")])
            message += f" (did you mean {guess}?)" if guess else ""
        raise UserError(f"{self.prog}: {message.rstrip('.')}; see `{self.prog} --help`.")


def _options(parser: argparse.ArgumentParser) -> set[str]:
    """The options of a parser and of its sub-commands, whose leftovers argparse reports at the top."""
    found = set(parser._option_string_actions)
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found |= set().union(*map(_options, action.choices.values()))
    return found


def add_config_options(parser: argparse.ArgumentParser, cls: type, title: str) -> None:
    """Add every public field of the config dataclass `cls` as `--field`, in a group of its own."""
    group = parser.add_argument_group(title)
    kinds = option_types(cls)
    for field in dataclasses.fields(cls):
        if not field.metadata["internal"]:
            action = group.add_argument(f"--{field.name}", **_argument(field, kinds[field.name]))
            if field.metadata["choices"] is not None:  # which argparse must not check: it would not name the nearest
                vars(action)[NAMES] = tuple(field.metadata["choices"])


def _argument(field: dataclasses.Field[Any], kind: OptionType) -> dict[str, Any]:
    text = field.metadata["help"].replace("%", "%%")
    default: Any = field.default
    if kind.kind is bool:
        return {"action": "store_true", "default": argparse.SUPPRESS, "help": text}
    shown = " ".join(map(str, default)) if kind.many else default
    if default not in (None, ()):
        text += f" (default: {shown})"
    limits, choices = field.metadata["range"], field.metadata["choices"]
    if limits is not None and limits.is_news:
        text += f"; {limits}"
    if choices is not None:
        text += f"; one of: {', '.join(choices)}"
    reader = _reader(kind.kind, field.metadata["words"])
    argument = {"type": reader, "default": argparse.SUPPRESS, "help": text, "metavar": kind.kind.__name__.upper()}
    if kind.many:
        argument["nargs"] = "+"
    return argument


def _reader(kind: Any, words: Mapping[str, Any]) -> Any:
    """`kind`, or a function that also understands `words`."""
    if not words:
        return kind

    def read(text: str) -> Any:
        return words[text] if text in words else kind(text)

    read.__name__ = kind.__name__  # argparse says it of a value that is neither
    return read


def given_values(namespace: argparse.Namespace, cls: type) -> dict[str, Any]:
    """The fields of `cls` that occurred on the command line, checked against their choices."""
    found = {f.name: getattr(namespace, f.name) for f in dataclasses.fields(cls) if hasattr(namespace, f.name)}
    return read_values(cls, found, "command line")


def without_prefix(values: dict[str, Any], prefix: str) -> dict[str, Any]:
    """Values of a class made by `uer_ds.config.options.prefixed` under the names of the class that it was made of."""
    return {name.removeprefix(prefix): value for name, value in values.items()}
