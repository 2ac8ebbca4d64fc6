"""What mkdocs asks while it builds the manual: pages that are made, and links that leave the folder of pages."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

from uer_ds.cli.reference import reference

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)#:]+)(#[^)]*)?\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the reference, and the two pages that lie at the top of the repository."""
    made = {"reference.md": reference()}
    for name, source in {"security.md": "SECURITY.md", "changelog.md": "CHANGELOG.md"}.items():
        made[name] = (ROOT / source).read_text(encoding="utf-8")
    for name, text in made.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """A link to a file of the repository that is no page becomes its path: the site has no such file.

    A link to a path that is nowhere stays, and fails the build.
    """

    def settled(found: re.Match[str]) -> str:
        text, target = found[1], found[2]
        place = posixpath.normpath(posixpath.join("docs", target))
        if not target.startswith("../") or not (ROOT / place).exists():
            return found[0]
        return f"{text} (`{place}`)" if text.strip("`") != place else f"`{place}`"

    return LINK.sub(settled, markdown)
