"""docs/finetuning.md says what is so: its commands are understood, both languages give the same ones."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import pytest

from uer_ds.cli import cv, cv_predict, finetune, grid, predict
from uer_ds.cli.parser import Parser

ROOT = Path(__file__).resolve().parents[2]
COMMAND = re.compile(r"^python (finetune/\S+\.py) (.*)$", re.MULTILINE)
MODULES = {"finetune": finetune, "grid": grid, "cv": cv, "predict": predict, "cv-predict": cv_predict}


def commands(page: str) -> list[tuple[str, str]]:
    return COMMAND.findall((ROOT / "docs" / page).read_text(encoding="utf-8"))


def words_of(door: str) -> list[str]:
    """The command and task that a door calls."""
    calls = [node for node in ast.walk(ast.parse((ROOT / door).read_text("utf-8"))) if isinstance(node, ast.List)]
    return [item.value for item in calls[0].elts if isinstance(item, ast.Constant)]


@pytest.mark.parametrize(("door", "options"), commands("finetuning.md"))
def test_commands_are_understood(door: str, options: str) -> None:
    command, *task = words_of(door)
    parser = Parser()
    MODULES[command].add_arguments(parser)
    arguments = parser.parse_args([*task, *shlex.split(options)])
    if command in ("finetune", "grid", "cv"):
        assert finetune.make_run(arguments).task == task[0]


def test_both_languages_give_the_same_commands() -> None:
    assert commands("finetuning.md") == commands("finetuning_zh.md") != []
