"""docs/plan.md says what is so: its commands run, both languages give the same commands and figures."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from uer_ds.cli.main import main
from uer_ds.plan.memory import FIXED

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = ("plan.md", "plan_zh.md")


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def commands(name: str) -> list[str]:
    return [line for block in re.findall(r"```bash\n(.*?)```", page(name), re.DOTALL) for line in block.splitlines()]


def test_both_languages_give_the_same_commands_and_figures() -> None:
    assert commands(PAGES[0]) == commands(PAGES[1])
    figures = [re.findall(r"[\d,]+ \| \d\.\d\d(?= \|)", page(name)) for name in PAGES]
    assert figures[0] == figures[1] != []


@pytest.mark.parametrize("line", [line for line in commands(PAGES[0]) if line.startswith("uer-ds plan")])
def test_its_plans_are_made(line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [str(tmp_path / word) if word.endswith(".json") else word for word in shlex.split(line)[1:]]
    assert main(words) == 0
    assert "uer-ds pretrain" in capsys.readouterr().out


def test_the_fixed_part_is_that_of_the_code() -> None:
    stage_0, stage_1, stage_2, stage_3 = (f"{size / 1e6:.0f}" for size in FIXED["cpu"])
    assert stage_1 == stage_2
    assert f"{stage_0} MB at stage 0, {stage_1} at 1 and 2, {stage_3} at 3" in page(PAGES[0])
