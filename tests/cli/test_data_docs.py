"""docs/data.md says what is so: its commands run, its table is that of the objectives, both languages agree."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from uer_ds.cli.main import main
from uer_ds.data.dataset import open_dataset
from uer_ds.data.indexed import dtype_for_vocabulary
from uer_ds.objective_specs import OBJECTIVE_SPECS

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = ("data.md", "data_zh.md")
CORPORA = {
    "line": "one document a line",
    "blank_line": "sentences, blank lines between documents",
    "pair": "source TAB target",
    "label": "label TAB text [TAB second text]",
}


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def commands(name: str) -> list[str]:
    blocks = re.findall(r"```(?:bash)?\n(.*?)```", page(name), re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


def test_both_languages_show_the_same_commands_and_figures() -> None:
    assert commands(PAGES[0]) == commands(PAGES[1])
    figures = [re.findall(r"\d[\d,.]*(?= \|)", page(name)) for name in PAGES]
    assert figures[0] == figures[1]


def test_the_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    Path("corpus.txt").write_text("".join(f"今天天气很好，第{i}天。\n" for i in range(30)), encoding="utf-8")
    for line in commands("data.md"):
        if line.startswith("uer-ds "):
            assert main(shlex.split(line)[1:]) == 0, line
    assert open_dataset("merged").documents == open_dataset("dataset").documents == 30
    shown = capsys.readouterr().out
    assert "all as written" in shown and "lm predicts" in shown


def test_the_table_of_objectives_is_theirs() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", page("data.md"), re.MULTILINE))
    assert list(rows) == list(OBJECTIVE_SPECS)
    for name, spec in OBJECTIVE_SPECS.items():
        learns, text, kind = rows[name].split(" | ")
        assert learns == spec.summary and (kind == "packed") == spec.packed
        assert text == (CORPORA[spec.corpus] if name != "llm_sft" else "instruction, input, output")
    assert re.findall(r"^\| `(\w+)` \|", page("data_zh.md"), re.MULTILINE) == list(OBJECTIVE_SPECS)


@pytest.mark.parametrize(("size", "name"), [(32768, "int16"), (32769, "uint16"), (65499, "uint16"), (65500, "int32")])
def test_types_of_ids_are_those_of_the_table(size: int, name: str) -> None:
    assert dtype_for_vocabulary(size).name == name
