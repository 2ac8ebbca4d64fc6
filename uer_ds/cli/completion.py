"""Completion for your shell: `uer-ds completion bash > ~/.local/share/bash-completion/completions/uer-ds`.

Commands, tasks, options, choices, names of recipes, models and DeepSpeed JSONs, files. The script is text: it costs
nothing when a shell starts, and is made anew after an update. For zsh put it into a file _uer-ds on $fpath,
for fish into ~/.config/fish/completions/uer-ds.fish.
"""

from __future__ import annotations

import argparse
import importlib
from typing import Any

from uer_ds.cli.main import COMMANDS
from uer_ds.cli.parser import NAMES, Parser
from uer_ds.cli.reference import shown_options, sub_commands
from uer_ds.config.recipes import recipe_names
from uer_ds.config.resources import resource_names
from uer_ds.errors import UserError

SHELLS = ("bash", "zsh", "fish", "tcsh")
FOLDERS = {"--ds_config": "ds_configs", "--config_path": "models"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The shell."""
    parser.add_argument("shell", choices=SHELLS, help="the shell that will read the script")


def run(args: argparse.Namespace) -> int:
    """Print the script."""
    try:
        import shtab
    except ImportError as error:
        raise UserError("completion needs the package shtab; `pip install shtab`.") from error
    print(shtab.complete(whole_parser(shtab.FILE), args.shell))
    return 0


def whole_parser(file: Any) -> argparse.ArgumentParser:
    """All commands in one parser that knows what values look like; `file` is shtab's mark for paths."""
    parser = Parser(prog="uer-ds")
    parser.add_argument("--version", action="store_true", help="print the version")
    commands = parser.add_subparsers(metavar="COMMAND", parser_class=Parser)
    for name, (module, summary) in COMMANDS.items():
        command = commands.add_parser(name, help=summary)
        importlib.import_module(module).add_arguments(command)
        for each in (command, *sub_commands(command).values()):
            for action in shown_options(each):
                _values(action, file)
    return parser


def _values(action: argparse.Action, file: Any) -> None:
    name = (action.option_strings or [""])[0]
    if name == "--recipe":
        action.choices = recipe_names()
    elif name in FOLDERS:
        action.choices = resource_names(FOLDERS[name])
    elif NAMES in vars(action):
        action.choices = list(vars(action)[NAMES])
    elif name.endswith(("_path", "_folder", "_dir")) or not name:
        action.complete = file  # type: ignore[attr-defined]
