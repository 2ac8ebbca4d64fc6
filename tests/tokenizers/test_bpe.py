"""Byte-pair encoding against a plain implementation of GPT-2's, with the `regex` module's character classes.

Known difference: whether a character counts as a letter follows the Unicode version of the `tokenizers` library, in
UER-py that of the `regex` module. So the comparison keeps to characters that were assigned long ago.
"""

from __future__ import annotations

import itertools
import unicodedata
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.tokenizers.uer_rules import vocabulary_file
from uer_ds.errors import UserError
from uer_ds.tokenizers import load_tokenizer
from uer_ds.tokenizers.base import Tokenizer, encodable
from uer_ds.tokenizers.bpe import byte_symbols

regex = pytest.importorskip("regex")
PATTERN = regex.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")
MERGES = ["Ġ t", "h e", "Ġt he", "a b", "ab c", "b c", "' s", "1 2", "e r", "ä »", "ä» Ĭ", "Ġ Ġ", "ĠĠ ĠĠ", "abc abc"]
PARTS = [" the", "abc", "abcab", "  ", "'s", "'ll", "12", "今", "\n", "\u3000", "\x1c", "\x85"]
OLD_CHARACTERS = st.characters().filter(lambda character: unicodedata.ucd_3_2_0.category(character) != "Cn")
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("bpe")
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(MERGES) + "\n", encoding="utf-8")
    tokens = [*SPECIAL, *byte_symbols(), *(merge.replace(" ", "") for merge in MERGES if merge != "abc abc"), "<mask>"]
    return load_tokenizer("bpe", vocab_path=vocabulary_file(folder, tokens), merges_path=folder / "merges.txt")


def merged(word: str) -> list[str]:
    """The lowest-ranked adjacent pair is merged until none is left."""
    ranks = {tuple(merge.split(" ")): rank for rank, merge in enumerate(MERGES)}
    parts = list(word)
    while True:
        pairs = [pair for pair in itertools.pairwise(parts) if pair in ranks]
        if not pairs:
            return parts
        first, second = min(pairs, key=ranks.__getitem__)
        result: list[str] = []
        for part in parts:
            if result and result[-1] == first and part == second:
                result[-1] = first + second
            else:
                result.append(part)
        parts = result


def reference(text: str) -> list[str]:
    symbols = byte_symbols()
    words = ["".join(symbols[byte] for byte in word.encode()) for word in PATTERN.findall(text)]
    return [part for word in words for part in merged(word)]


@settings(max_examples=400, deadline=None)
@given(st.lists(st.one_of(st.sampled_from(PARTS), OLD_CHARACTERS), max_size=12).map("".join))
@example("it's  12 abcabc today\n\n the end ")
def test_ids_are_gpt2s(tokenizer: Tokenizer, text: str) -> None:
    text = encodable(text)
    ids = tokenizer.vocabulary.ids
    assert tokenizer.encode(text).tolist() == [ids.get(token, ids["<unk>"]) for token in reference(text)]


def test_special_tokens_decoding_and_surrogates(tokenizer: Tokenizer) -> None:
    assert tokenizer.special.mask == tokenizer.vocab_size - 1 and tokenizer.special.unk == 3
    text = "it's 今天 the <mask> é"
    assert tokenizer.decode([0, *tokenizer.encode(text), 2]) == f"<s>{text}</s>"
    assert tokenizer.special.mask not in tokenizer.encode(text)
    assert tokenizer.encode("\ud800").tolist() == tokenizer.encode("\uffff").tolist()


def test_merges_that_do_not_belong_to_the_vocabulary(tmp_path: Path) -> None:
    (tmp_path / "merges.txt").write_text("#version: 0.2\na b\n")
    vocabulary = vocabulary_file(tmp_path, byte_symbols())
    tokenizer = load_tokenizer("bpe", vocab_path=vocabulary, merges_path=tmp_path / "merges.txt")
    with pytest.raises(UserError, match="neither 'ab', which the merges make, nor the unknown token"):
        tokenizer.encode("cab")


@pytest.mark.parametrize(
    ("content", "words"),
    [("#version: 0.2\na b\na b c\n", "line 3 has 3 fields"), ("abc", "line 1 has 1 fields"), ("", "empty")],
)
def test_files_that_are_no_merges(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "merges.txt").write_text(content)
    with pytest.raises(UserError, match=words):
        load_tokenizer("bpe", vocab_path=vocabulary_file(tmp_path, SPECIAL), merges_path=tmp_path / "merges.txt")


def test_the_last_merge_counts_without_a_newline(tmp_path: Path) -> None:
    (tmp_path / "merges.txt").write_text("a b")
    vocabulary = vocabulary_file(tmp_path, [*byte_symbols(), "ab"])
    tokenizer = load_tokenizer("bpe", vocab_path=vocabulary, merges_path=tmp_path / "merges.txt")
    assert tokenizer.encode("ab").tolist() == [256]
