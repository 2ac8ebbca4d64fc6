"""Sentence splitting: real Chinese and Western punctuation, and never a lost character."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uer_ds.data.sentences import MAX_QUOTE, split_lines, split_sentences


@pytest.mark.parametrize(
    "sentences",
    [
        ["今天很好。", "我们走吧！", "真的吗？！", "好……"],
        ["“今天很好。我们走吧。”", "他说。"],
        ["他说：“你好。”，然后走了。"],
        ["《你好！》一书（真的！）很好。", "对。"],
        ["他问（小声）：“走吗？”", "没人回答。"],
        ["“没有关上的引号。", "后面还有。"],
        ["Mr. Smith paid 3.14 dollars.", " He left (really?), e.g. yesterday.", ' "Yes."', " J. K. Rowling did not!"],
        ["3.5寸的屏幕，http://a.b.c/d。", "不错"],
        ["没有句号"],
        ["。。。！"],
    ],
)
def test_sentences(sentences: list[str]) -> None:
    assert split_sentences("".join(sentences)) == sentences


def test_a_very_long_quotation_is_split() -> None:
    text = "“" + "很长。" * MAX_QUOTE + "”"
    assert len(split_sentences(text)) > MAX_QUOTE // 2


def test_line_ends_end_sentences() -> None:
    assert split_sentences("一\n二。三\n") == ["一", "二。", "三"]


def test_documents_become_sentences_and_blank_lines() -> None:
    lines = split_lines("一。二\n\n三\n".encode()).decode().split("\n")
    documents = "\n".join(lines).split("\n\n")
    assert [d.split("\n") for d in (d.strip("\n") for d in documents) if d] == [["一。", "二"], ["三"]]


@given(st.text(alphabet="一二。！？，“”「」《》（） .!?\"'aA1\n", max_size=60))
def test_no_character_is_lost(text: str) -> None:
    assert "".join(split_sentences(text)) == text.replace("\n", "")
    assert b"".join(split_lines(text.encode()).split(b"\n")) == text.replace("\n", "").encode()
