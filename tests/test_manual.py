"""The manual: it builds without a warning, its commands are read by the real parsers, both languages give the same."""

from __future__ import annotations

import logging
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from uer_ds.cli.main import COMMANDS, command_parser
from uer_ds.cli.plan import without_dataset
from uer_ds.cli.reference import reference, shown_options, sub_commands

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("docs/*.md"), ROOT / "README.md", ROOT / "README_ZH.md"])
DOOR = re.compile(r"\b(?:launch|preprocess|finetune|convert)/\w+\.py$")
ENTER = re.compile(r"enter\(\[(.*?), \*sys")
OTHERS = ("README", "coming_from", "differences")
"""Pages that name scripts of other projects too."""
PLACEHOLDER = re.compile(r"^[A-Z]+$")


def command_lines(page: Path) -> Iterator[str]:
    """Lines of the page's bash blocks, continued ones whole, and commands in the cells of tables."""
    text = page.read_text(encoding="utf-8")
    for block in re.findall(r"```(?:bash|sh)?\n(.*?)```", text, re.DOTALL):
        yield from (line.strip() for line in block.replace("\\\n", " ").splitlines())
    if page.name == "zoo.md":
        yield from re.findall(r"^\| .* \| `(.*)` \|$", text, re.MULTILINE)


def understood(line: str) -> tuple[str, list[str]] | None:
    """(command, options) of a line that runs one of ours; None for other lines."""
    try:
        words = shlex.split(line, comments=True)
    except ValueError:
        return None
    words = words[: next((n for n, word in enumerate(words) if word in ("|", "&&", "&", ">", ";")), len(words))]
    for place, word in enumerate(words):
        if word == "uer-ds" and place + 1 < len(words):
            return words[place + 1], words[place + 2 :]
        if DOOR.search(word):
            called = ENTER.search((ROOT / word).read_text(encoding="utf-8"))
            assert called, word
            name, *given = shlex.split(called[1].replace(",", " "))
            return name, [*given, *words[place + 1 :]]
    return None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_are_understood(page: Path) -> None:
    for line in command_lines(page):
        found = understood(line)
        if found is None or PLACEHOLDER.match(found[0]) or found[0].startswith("--") or "--help" in found[1]:
            continue
        name, options = found
        assert name in COMMANDS, line
        parser, module = command_parser(name)
        modernise = getattr(module, "modernise", None)
        shown = [word for word in options if word not in ("...", "OPTIONS")]
        assert parser.parse_args(modernise(shown) if modernise else shown), line


@pytest.mark.parametrize("page", [page for page in PAGES if page.name.endswith("_zh.md")], ids=lambda page: page.name)
def test_both_languages_give_the_same_commands(page: Path) -> None:
    english = page.with_name(page.name.replace("_zh.md", ".md"))
    theirs, ours = ([found for line in command_lines(p) if (found := understood(line))] for p in (english, page))
    assert ours == theirs


@pytest.mark.parametrize(
    "page", [page for page in PAGES if not page.name.startswith(OTHERS)], ids=lambda page: page.name
)
def test_doors_of_the_pages_exist(page: Path) -> None:
    doors = re.findall(
        r"(?<![\w/.])((?:launch|preprocess|finetune|convert)/\w+\.py)\b", page.read_text(encoding="utf-8")
    )
    assert all((ROOT / door).is_file() for door in doors), doors


def zoo_tables() -> dict[str, list[str]]:
    """Heading -> the commands of its table, of docs/zoo.md."""
    sections = (ROOT / "docs/zoo.md").read_text(encoding="utf-8").split("\n## ")[1:]
    return {text.splitlines()[0]: re.findall(r"^\| .* \| `(.*)` \|$", text, re.MULTILINE) for text in sections}


def test_the_zoo_page_has_every_row(shared: Path) -> None:
    """The grid of sizes, tables with a link a row, and one table of HTML."""
    theirs = (shared / "modelzoo_zh.md").read_text(encoding="utf-8")
    grid = len(re.findall(r"\[\d+_\d+\](?!:)", theirs))
    html = theirs.count('<tr align="center"><td>')
    linked = [len(re.findall(r"^\| \[\*\*.*$", part, re.MULTILINE)) for part in theirs.split("\n## ")]
    *counted, _ = [len(commands) for commands in zoo_tables().values()]
    assert counted == [grid, *(count for count in linked if count), html]


def test_runs_of_the_zoo_page_are_whole() -> None:
    for line in (line for commands in zoo_tables().values() for line in commands if "--recipe" in line):
        _, options = understood(line) or ("", [])
        parser, module = command_parser("pretrain")
        args = parser.parse_args(module.modernise(options))
        assert module.make_run_config(args, without_dataset).total_updates, line


def test_the_reference_has_every_option() -> None:
    text = reference()
    for name in COMMANDS:
        parser, _ = command_parser(name)
        assert f"## uer-ds {name}\n" in text
        for one in (parser, *sub_commands(parser).values()):
            for action in shown_options(one):
                assert not action.option_strings or f"`{action.option_strings[0]}" in text


def test_the_manual_builds_without_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("material", reason="needs mkdocs-material")
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    with caplog.at_level(logging.WARNING, logger="mkdocs"):
        build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path / "site"), strict=True))
    assert not [record.getMessage() for record in caplog.records if record.name.startswith("mkdocs")]
    page = (tmp_path / "site" / "reference.html").read_text(encoding="utf-8")
    assert "--whole_word_masking" in page and (tmp_path / "site" / "security.html").is_file()
    assert not re.search(r'(?:src|href)="https?://[^"]*\.(?:js|css|woff2?)', page)
