"""docs/generation.md says what is so: its commands are understood, both languages give the same ones."""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path

import pytest

from uer_ds.cli.main import COMMANDS
from uer_ds.cli.parser import Parser

ROOT = Path(__file__).resolve().parents[2]
COMMAND = re.compile(r"^(?:uer-ds (\S+)|\S*.*?(launch/generate\w*\.py)) (.*)$", re.MULTILINE)


def commands(page: str) -> list[tuple[str, str]]:
    """Command and options of every line that is one."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    blocks = "\n".join(re.findall(r"```bash\n(.*?)```", text, re.DOTALL))
    return [(name or "generate", options) for name, _, options in COMMAND.findall(blocks)]


@pytest.mark.parametrize(("name", "options"), commands("generation.md"))
def test_commands_are_understood(name: str, options: str) -> None:
    module = importlib.import_module(COMMANDS[name][0])
    parser = Parser()
    module.add_arguments(parser)
    words = shlex.split(options)
    parser.parse_args(module.modernise(words) if hasattr(module, "modernise") else words)


def test_doors_of_the_page_exist() -> None:
    text = (ROOT / "docs" / "generation.md").read_text(encoding="utf-8")
    doors = set(re.findall(r"launch/\w+\.py", text))
    assert doors == {f"launch/{name}.py" for name in ("generate", "generate_lm", "generate_seq2seq")}
    assert all((ROOT / door).is_file() for door in doors)


def test_both_languages_give_the_same_commands() -> None:
    assert commands("generation.md") == commands("generation_zh.md") != []
