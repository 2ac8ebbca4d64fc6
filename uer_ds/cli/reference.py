"""Every command and option as one page of Markdown, read off the parsers themselves, so it cannot go stale."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from uer_ds.cli.main import COMMANDS, command_parser

Commands = dict[str, argparse.ArgumentParser]


def sub_commands(parser: argparse.ArgumentParser) -> Commands:
    """Name -> parser of a parser's sub-commands, without aliases."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def shown_options(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """The options and arguments that --help shows, but --help itself and the choice of a sub-command."""
    hidden = (argparse._HelpAction, argparse._SubParsersAction)
    return [a for a in parser._actions if a.help != argparse.SUPPRESS and not isinstance(a, hidden)]


def reference() -> str:
    """The page."""
    parts = ["# Every command and option\n", "Made from the parsers that read your command line.\n"]
    for name, (_, summary) in COMMANDS.items():
        parser, _ = command_parser(name)
        parts.append(f"## uer-ds {name}\n\n{_sentence(summary)}\n")
        parts += _options(parser)
        shared: set[str] = set()
        for task, sub in sub_commands(parser).items():
            own = [action for action in shown_options(sub) if _row(action) not in shared]
            shared |= {_row(action) for action in own}
            parts.append(f"### uer-ds {name} {task}\n")
            parts += _table(own)
            if len(own) < len(shown_options(sub)):
                parts.append("Beside these, the options that the sub-commands above have in common with it.\n")
    return "\n".join(parts)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".") + "."


def _options(parser: argparse.ArgumentParser) -> list[str]:
    """A table for each group that has options."""
    found = []
    for group in parser._action_groups:
        actions = [action for action in shown_options(parser) if action in group._group_actions]
        if actions and group.title not in ("options", "positional arguments"):
            found.append(f"**{group.title}**\n")
        found += _table(actions)
    return found


def _table(actions: list[argparse.Action]) -> list[str]:
    return ["\n".join(["| Option | |", "|---|---|", *map(_row, actions)]) + "\n"] if actions else []


def _row(action: argparse.Action) -> str:
    name = ", ".join(action.option_strings) or str(action.metavar or action.dest)
    takes = f" {action.metavar or ''}" if action.option_strings and action.nargs != 0 else ""
    more = " ..." if action.nargs in ("+", "*") else ""
    said = "; ".join(_said(action))
    return f"| `{name}{takes.rstrip()}{more}` | {_cell(said)} |"


def _said(action: argparse.Action) -> Iterator[str]:
    if action.help:
        yield action.help.replace("%%", "%")
    if action.choices is not None and "one of" not in (action.help or ""):
        yield "one of: " + ", ".join(map(str, action.choices))


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")
