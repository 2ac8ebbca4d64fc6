"""docs/generation.md and docs/tools.md: their commands are understood, both languages give the same ones."""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path

import pytest

from uer_ds.cli.main import COMMANDS
from uer_ds.cli.parser import Parser

ROOT = Path(__file__).resolve().parents[2]
COMMAND = re.compile(r"^(?:uer-ds (\S+)|\S*.*?(?:launch|finetune)/(\w+)\.py) (.*)$", re.MULTILINE)
ENTER = re.compile(r"enter\(\[(.*?), \*sys")
PAGES = ("generation", "tools")


def commands(page: str) -> list[tuple[str, str]]:
    """Command and options of every line that is one."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    blocks = "\n".join(re.findall(r"```bash\n(.*?)```", text, re.DOTALL))
    return [(name or command_of(door), options) for name, door, options in COMMAND.findall(blocks)]


def command_of(door: str) -> str:
    """The command that the door calls."""
    path = next(
        ROOT / folder / f"{door}.py" for folder in ("launch", "finetune") if (ROOT / folder / f"{door}.py").is_file()
    )
    found = ENTER.search(path.read_text(encoding="utf-8"))
    assert found, path
    return shlex.split(found[1].replace(",", " "))[0]


@pytest.mark.parametrize(("name", "options"), [pair for page in PAGES for pair in commands(f"{page}.md")])
def test_commands_are_understood(name: str, options: str) -> None:
    module = importlib.import_module(COMMANDS[name][0])
    parser = Parser()
    module.add_arguments(parser)
    words = shlex.split(options)
    parser.parse_args(module.modernise(words) if hasattr(module, "modernise") else words)


def test_doors_of_the_pages_exist() -> None:
    text = "".join((ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8") for page in PAGES)
    doors = set(re.findall(r"(?:launch|finetune)/\w+\.py", text))
    assert len(doors) == 10 and all((ROOT / door).is_file() for door in doors)


@pytest.mark.parametrize("page", PAGES)
def test_both_languages_give_the_same_commands(page: str) -> None:
    assert commands(f"{page}.md") == commands(f"{page}_zh.md") != []
