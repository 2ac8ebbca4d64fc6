"""Building vocabularies: UER-py's order, nothing lost, the same for any number of workers and any cut into blocks."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tokenizers.uer_rules import words_of
from uer_ds.errors import UserError
from uer_ds.tokenizers import build, build_vocabulary, load_tokenizer, write_vocabulary
from uer_ds.tokenizers.vocabulary import RESERVED

TEXT = "今天 天气\n  hello Hello  今\u3000天\t!\n\nÉté, été\r\nΣΑΣ 안 [MASK] x"
LINES = st.lists(st.text(st.sampled_from("今天 天aAbÉΣ,\t\r\u3000\u2028\u200b"), max_size=12), max_size=8)


def counted(tokens: list[str]) -> list[str]:
    """Descending counts, ties as first seen."""
    counts = Counter(tokens)
    return sorted(counts, key=lambda token: -counts[token])


def expected_tokens(text: str, delimiter: str) -> list[str]:
    lines = text.split("\n")
    if delimiter == "char":
        tokens = counted([character for line in lines for character in line.strip()])
        return [token for token in tokens if token != "\r"]  # a line of a file cannot hold it
    if delimiter == "space":
        tokens = counted([field for line in lines for field in line.strip().split(" ")])
        return [token for token in tokens if token and (token.split() or [token.strip("\r")]) == [token]]
    words = [word for line in lines for word in words_of(line, lower_case=True)]
    return counted([f"##{c}" if i else c for word in words for i, c in enumerate(word)])


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.txt"
    path.write_text(TEXT, encoding="utf-8", newline="")
    return path


@pytest.mark.parametrize("delimiter", ["char", "space", "bert"])
def test_order_and_reserved_entries(corpus: Path, delimiter: str) -> None:
    tokens = build_vocabulary([corpus], delimiter)
    assert tokens[:104] == list(RESERVED)
    assert RESERVED[0] == "[PAD]" and RESERVED[1] == "[unused1]" and RESERVED[99:] == (
        "[unused99]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")  # fmt: skip
    assert tokens[104:] == [token for token in expected_tokens(TEXT, delimiter) if token not in RESERVED]


@settings(max_examples=150, deadline=None)
@given(lines=LINES, delimiter=st.sampled_from(["char", "space", "bert"]), block=st.integers(1, 40))
def test_any_text_in_any_blocks(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], delimiter: str, block: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.txt"
    text = "\n".join(lines)
    path.write_text(text, encoding="utf-8", newline="")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "BLOCK_BYTES", block)
        assert build_vocabulary([path], delimiter, reserved=()) == expected_tokens(text, delimiter)


def test_several_files_and_workers(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "other.txt"
    other.write_text("zz 今今今今\n" * 5, encoding="utf-8")
    alone = build_vocabulary([corpus, other], "bert", min_count=2)
    assert alone[104] == "今" and "##z" in alone and "z" in alone and "##\u1161" not in alone
    monkeypatch.setattr(build, "BLOCK_BYTES", 50)
    assert build_vocabulary([corpus, other], "bert", min_count=2, workers=2) == alone


def test_no_word_of_the_corpus_is_unknown(corpus: Path, tmp_path: Path) -> None:
    for lower_case in (True, False):
        path = tmp_path / "vocab.txt"
        write_vocabulary(build_vocabulary([corpus], "bert", do_lower_case=lower_case), path)
        tokenizer = load_tokenizer("bert", vocab_path=path, do_lower_case=lower_case)
        ids, _ = tokenizer.encode_lines(np.frombuffer(TEXT.encode(), dtype=np.uint8))
        assert len(ids) > 20 and tokenizer.special.unk not in ids


def test_a_byte_order_mark_is_no_token(tmp_path: Path) -> None:
    path = tmp_path / "corpus.txt"
    path.write_bytes(b"\xef\xbb\xbfab\n")
    assert build_vocabulary([path], "char", reserved=()) == ["a", "b"]


def test_bytes_that_are_no_utf8_are_named_by_their_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "corpus.txt"
    path.write_bytes(b"line\n" * 10 + b"ab\xffcd\n" + b"line\n" * 10)
    monkeypatch.setattr(build, "BLOCK_BYTES", 16)
    for delimiter in ("char", "space", "bert"):
        with pytest.raises(UserError, match=r"byte 52 is 0xff; convert .*iconv -f GB18030") as error:
            build_vocabulary([path], delimiter)
        assert str(path) in str(error.value)


def test_mistakes_are_named(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'char'"):
        build_vocabulary([corpus], "chars")
    with pytest.raises(UserError, match="nothing_here"):
        build_vocabulary([tmp_path / "nothing_here.txt"])
    with pytest.raises(UserError, match="min_count 0"):
        build_vocabulary([corpus], min_count=0)
