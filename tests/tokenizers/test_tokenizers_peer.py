"""The compiled WordPiece tokenizer against the `tokenizers` library's `BertWordPieceTokenizer`.

Known differences; in each of them UER-py's rules are ours, and `test_wordpiece.py` checks them:

* special tokens spelt in the text: there they become their ids, here they are text;
* words of 101 to 200 characters: there unknown, here pieces;
* with lower casing, a capital sigma at the end of a word: there σ, here ς (Python's `str.lower`);
* private code points: there removed, here part of their word;
* characters younger than the library's tables of categories, which are older than Python's;
* ideographs U+2B820-U+2B91F: there not set apart (a digit is wrong in the library's ranges).
"""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import BertWordPieceTokenizer

from tests.tokenizers.uer_rules import vocabulary_file
from uer_ds.tokenizers import load_tokenizer
from uer_ds.tokenizers.base import Tokenizer
from uer_ds.tokenizers.vocabulary import RESERVED

LETTERS = "abcdeinorst0123今天気カナはがα\u03c3βжй\u1112\u1161\u11ab#,。—"
PIECES = ("an", "the", "in", "tion", "##s", "##ing", "##tion", "##ed", "##er", "天気", "##\u0301", "\u2028", "ﬁ")


def known_to_both(code: int) -> bool:
    """Assigned in Unicode 3.2 and in the same category ever since."""
    character = chr(code)
    category = unicodedata.category(character)
    same = unicodedata.ucd_3_2_0.category(character) == category
    return same and category not in ("Cn", "Co", "Cs") and character != "Σ"


ALPHABET = [chr(code) for code in range(0x30000) if known_to_both(code)]
WORDS = st.text(
    st.one_of(st.sampled_from(ALPHABET), st.sampled_from(LETTERS), st.sampled_from("áÉİ≠\t\r\n \u3000")), max_size=80
)
SENTENCES = st.lists(WORDS, max_size=6).map(" ".join)

Pair = tuple[Tokenizer, BertWordPieceTokenizer]


def both(path: Path, lower_case: bool) -> Pair:
    theirs = BertWordPieceTokenizer(str(path), lowercase=lower_case)
    return load_tokenizer("bert", vocab_path=path, do_lower_case=lower_case), theirs


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> list[Pair]:
    tokens = [*RESERVED, *LETTERS, *(f"##{letter}" for letter in LETTERS), *PIECES]
    path = vocabulary_file(tmp_path_factory.mktemp("peer"), dict.fromkeys(tokens))
    return [both(path, lower_case) for lower_case in (True, False)]


def their_ids(theirs: BertWordPieceTokenizer, text: str) -> list[int]:
    ids: list[int] = theirs.encode(text, add_special_tokens=False).ids
    return ids


@settings(max_examples=700, deadline=None)
@given(text=SENTENCES)
def test_any_text(pairs: list[Pair], text: str) -> None:
    if any(token in text for token in RESERVED):
        return
    for ours, theirs in pairs:
        assert ours.encode(text).tolist() == their_ids(theirs, text)


@pytest.mark.parametrize(
    ("text", "ours_says", "theirs_says"),
    [
        ("[MASK]", "[UNK][UNK][UNK]", "[MASK]"),
        ("a" * 101, "a" * 101, "[UNK]"),
        ("αΣ", "[UNK]", "ασ"),
        ("a\ue000", "[UNK]", "a"),
        ("a\U0002b820", "a[UNK]", "[UNK]"),
    ],
)
def test_the_known_differences_are_there(pairs: list[Pair], text: str, ours_says: str, theirs_says: str) -> None:
    """So that the list above stays true."""
    ours, theirs = pairs[0]
    assert ours.decode(ours.encode(text)) == ours_says
    assert ours.decode(their_ids(theirs, text)) == theirs_says


@pytest.mark.parametrize("corpus", ["CLUECorpusSmall_sampled.txt", "news-commentary-v13-en-zh_sampled.txt"])
def test_real_lines(shared: Path, corpus: str) -> None:
    ours, theirs = both(shared / "data/models/google_zh_vocab.txt", lower_case=True)
    lines = (shared / "data/corpora" / corpus).read_text(encoding="utf-8").split("\n")[:400]
    lines = [line for line in lines if "Σ" not in line and not any(token in line for token in RESERVED)]
    ids, offsets = ours.encode_lines(np.frombuffer("\n".join(lines).encode(), dtype=np.uint8))
    for line, begin, end in zip(lines, offsets[:-1], offsets[1:], strict=True):
        assert ids[begin:end].tolist() == their_ids(theirs, line), line
