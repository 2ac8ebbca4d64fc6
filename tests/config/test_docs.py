"""The pages on what is different from UER-py: both languages have the same tables, and the refusals they name exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from uer_ds.config.model import ModelConfig
from uer_ds.config.options import option_types

DOCS = Path(__file__).resolve().parents[2] / "docs"


def tables(name: str) -> list[int]:
    """The number of rows of each table of a page."""
    text = (DOCS / name).read_text("utf-8")
    return [len(table.splitlines()) for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)]


def test_both_pages_have_the_same_rows() -> None:
    assert tables("differences.md") == tables("differences_zh.md") != []


@pytest.mark.parametrize(("page", "heading"), [("differences.md", "### What"), ("differences_zh.md", "### 会被")])
def test_the_keys_of_refusals_are_keys(page: str, heading: str) -> None:
    section = (DOCS / page).read_text("utf-8").split(heading)[1].split("\n## ")[0]
    named = set(re.findall(r"`([a-z]+(?:_[a-z]+)+)`", section)) - {"fully_visible", "causal_with_prefix", "llm_sft"}
    assert len(named) > 5
    assert named <= set(option_types(ModelConfig))
