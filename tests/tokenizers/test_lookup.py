"""The char and space tokenizers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tokenizers.uer_rules import vocabulary_file
from uer_ds.errors import UserError
from uer_ds.tokenizers import load_tokenizer
from uer_ds.tokenizers.base import Tokenizer
from uer_ds.tokenizers.vocabulary import RESERVED

TOKENS = [*RESERVED, "今", "天", "a", " ", "\u2028", "今天", "ab", "\U0001f600"]


@pytest.fixture(scope="module", params=["char", "space"])
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return load_tokenizer(request.param, vocab_path=vocabulary_file(tmp_path_factory.mktemp("lookup"), TOKENS))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.text(st.sampled_from("今天aA \t\u2028\u3000\U0001f600\ud800")), max_size=6))
def test_ids(tokenizer: Tokenizer, texts: list[str]) -> None:
    rows = [list(text.strip()) if tokenizer.kind == "char" else text.strip().split(" ") for text in texts]
    ids, offsets = tokenizer.encode_batch(texts)
    known = {token: index for index, token in enumerate(TOKENS)}
    assert ids.dtype == np.int32 and ids.tolist() == [known.get(token, 100) for row in rows for token in row]
    assert np.diff(offsets).tolist() == [len(row) for row in rows]


def test_lines(tokenizer: Tokenizer) -> None:
    text = np.frombuffer("今 天\r\n\na\u2028a".encode(), dtype=np.uint8)
    lines = tokenizer.encode_lines(text)
    whole = tokenizer.encode_batch(["今 天", "", "a\u2028a"])
    assert [part.tolist() for part in lines] == [part.tolist() for part in whole]
    with pytest.raises(ValueError, match="byte 3"):
        tokenizer.encode_lines(np.frombuffer(b"abc\xff", dtype=np.uint8))


def test_decoding(tokenizer: Tokenizer) -> None:
    text = "今 天 a" if tokenizer.kind == "space" else "今 天a"
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_a_vocabulary_without_the_unknown_token(tmp_path: Path) -> None:
    path = vocabulary_file(tmp_path, ["a"])
    for kind in ("char", "space", "bert"):
        with pytest.raises(UserError, match=r"vocab.txt: no entry for the special token unk \(\[UNK\]\)"):
            load_tokenizer(kind, vocab_path=path)
