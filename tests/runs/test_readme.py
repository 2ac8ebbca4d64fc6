"""Every command in both READMEs runs as it stands, in the clone, with fewer steps."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

from tests.runs.conftest import ROOT, Run

SHORTER = {"10000": "4", "5000": "2"}
RUN_ELSEWHERE = {"bash quickstart.sh": "test_quickstart.py", "bash test.sh": "this suite itself"}
FILES = ("corpus.txt", "vocab.txt", "dataset", "output", "output_hf")
"""What the commands read and write; the test puts them into a folder of its own."""


def commands(readme: str) -> list[str]:
    """The lines of all shell blocks."""
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / readme).read_text(encoding="utf-8"), re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line]


def test_both_languages_show_the_same_commands() -> None:
    assert commands("README.md") == commands("README_ZH.md")


def test_paths_named_in_the_readmes_exist() -> None:
    for readme in ("README.md", "README_ZH.md"):
        for path in re.findall(r"\]\(([\w./]+)\)", (ROOT / readme).read_text(encoding="utf-8")):
            assert (ROOT / path).exists(), path


def test_every_command_runs(material: Path, tmp_path: Path, run: Run) -> None:
    shutil.copy(material / "text.txt", tmp_path / "corpus.txt")
    ran = 0
    for line in commands("README.md"):
        if line in RUN_ELSEWHERE:
            continue
        words = [SHORTER.get(word, word) for word in shlex.split(line)]
        named = [str(tmp_path / word) if word.split("/")[0] in FILES else word for word in words[2:]]
        run(*words[:2], *named)
        ran += 1
    assert ran == 5
    assert (tmp_path / "output_hf" / "tokenizer.json").is_file()
