"""Vocabulary files: what counts as a line, a token, a mistake."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from uer_ds.errors import UserError
from uer_ds.tokenizers import Vocabulary, load_tokenizer, write_vocabulary
from uer_ds.tokenizers.vocabulary import RESERVED


def read(folder: Path, content: bytes) -> Vocabulary:
    path = folder / "vocab.txt"
    path.write_bytes(content)
    return Vocabulary.read(path)


@pytest.mark.parametrize(
    ("content", "tokens"),
    [
        (b"a\nb\n", ["a", "b"]),
        (b"a\nb", ["a", "b"]),
        (b"a\r\nb\r\n", ["a", "b"]),
        (b"a 17\n b\t3 x\n", ["a", "b"]),
        (b"a\n\nb\n", ["a", "", "b"]),
        (b"a\n\r\nb\n", ["a", "", "b"]),
        ("a\n\u2028\nb\n".encode(), ["a", "\u2028", "b"]),
        ("a\n \u3000\nb\u0085c\n".encode(), ["a", " \u3000", "b"]),
        (b"\n", [""]),
        (b"\xef\xbb\xbf[PAD]\na\n", ["[PAD]", "a"]),
    ],
)
def test_lines_and_tokens(tmp_path: Path, content: bytes, tokens: list[str]) -> None:
    assert read(tmp_path, content).tokens == tokens


def test_what_is_written_reads_back_the_same(tmp_path: Path) -> None:
    tokens = [*RESERVED, "\u2028", "##", "\u3000", " ", "\t", "", "今", "\ue000"]
    write_vocabulary(tokens, tmp_path / "deep" / "vocab.txt")
    assert Vocabulary.read(tmp_path / "deep" / "vocab.txt").tokens == tokens
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["vocab.txt"]


def test_duplicates_are_counted_and_the_last_line_gives_the_id(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        vocabulary = read(tmp_path, b"a\nb\na\na\n")
    assert len(vocabulary) == 4 and vocabulary.duplicates == 2 and vocabulary.ids == {"a": 3, "b": 1}
    assert "2 of 4 lines" in caplog.text and str(tmp_path) in caplog.text


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "No such file"),
        (b"", "empty (0 bytes)"),
        (b"[PAD]\n\xb2\xe2\n", "byte 6 is no UTF-8 (0xb2)"),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, content: bytes | None, words: str) -> None:
    path = tmp_path / "vocab.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError) as error:
        load_tokenizer("bert", vocab_path=path)
    assert words in str(error.value) and str(path) in str(error.value)


def test_a_folder_is_no_vocabulary(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="directory"):
        Vocabulary.read(tmp_path)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "vocab.txt"
    write_vocabulary(["a"], path)
    with pytest.raises(UnicodeEncodeError):
        write_vocabulary(["\ud800"], path)
    assert path.read_text() == "a\n" and list(tmp_path.iterdir()) == [path]
