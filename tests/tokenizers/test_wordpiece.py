"""The compiled WordPiece tokenizer against UER-py's rules, on any text and on every code point."""

from __future__ import annotations

import itertools
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.tokenizers.uer_rules import tokenize, vocabulary_file, words_of
from uer_ds.tokenizers import InvalidUtf8, load_tokenizer
from uer_ds.tokenizers.base import Tokenizer, encodable
from uer_ds.tokenizers.characters import CODE_POINTS, character_table
from uer_ds.tokenizers.kernels import CODE_MASK, LINE_END, START
from uer_ds.tokenizers.vocabulary import RESERVED

NASTY = (
    "Σσς'.:İıẞßΆάÅé\u0301\u0308\u0344\u0345\u0327"  # sigma and what may stand beside it, accents
    "\u302e\u302f\U0001d165\U0001d15e\U0001d16d\U00016ff0"  # marks that stay and have a canonical order
    "\u0e38\u094d\u0903\u0f71"  # marks of other scripts, one of class 0
    "안각\u1100\u1161が\u3099ｶ"  # Hangul and kana, which come apart
    "今\U00020000\uf900\U0002f800\u3007"  # ideographs in and outside the blocks that are set apart
    "≠≮\u037e\u1fef;`-，。—"  # signs that become signs
    "\0\ufffd\u200b\u200d\u00ad\x07\x0b\x85\ufeff\u180e"  # what is removed
    " \t\r\n\u3000\xa0\u2028\u2029\u2002"  # where words end
    "abAB1#[]\ue000\u0378\U000e0080\ud800\udfff"  # plain, private, unassigned, surrogates
)
TEXTS = st.text(st.one_of(st.sampled_from(NASTY), st.characters(), st.characters(max_codepoint=0x24F)))
UTF8_AND_NOT = (
    *("\n", "a", "é", "今", "\U0001f600"),
    *(b"\x80", b"\xc3", b"\xe4\xbb", b"\xf0\x9f\x98", b"\xff"),  # cut characters
    *(
        b"\xed\xa0\x80",
        b"\xc0\xaf",
        b"\xe0\x9f\xbf",
        b"\xf0\x8f\xbf\xbf",
        b"\xf4\x90\x80\x80",
    ),  # surrogate, overlong, large
)


def compiled_words(text: str, lower_case: bool) -> list[str]:
    """The words of a stream, as strings."""
    content = np.frombuffer(encodable(text).encode(), dtype=np.uint8)
    words: list[str] = []
    for code in character_table(lower_case).split(content).tolist():
        if code == LINE_END:
            continue
        if code & START:
            words.append("")
        words[-1] += chr(code & CODE_MASK)
    return words


@settings(max_examples=1000, deadline=None)
@given(text=TEXTS, lower_case=st.booleans())
@example(text="ΑΣ", lower_case=True)
@example(text="ΑΣ' Σ.Σ ΑΣ今", lower_case=True)
@example(text="\U0001d15f\U0001d16d\u302e \u302e\U0001d165", lower_case=True)
@example(text="a\U0001d16d\u093f\u0903\U0001d165", lower_case=True)
def test_words_are_those_of_the_rules(text: str, lower_case: bool) -> None:
    text = encodable(text)
    assert compiled_words(text, lower_case) == words_of(text, lower_case)


@pytest.mark.parametrize("lower_case", [True, False])
def test_every_code_point(lower_case: bool) -> None:
    """Beside letters, marks and sigmas; large uniform blocks are sampled."""
    codes = [
        code
        for code in range(CODE_POINTS)
        if unicodedata.category(chr(code)) not in ("Cs", "Co", "Cn")
        and (code < 0x3000 or code % 8 == 0 or code > 0xF900)
        if not 0x20000 <= code < 0x2F800
    ]
    for first in range(0, len(codes), 256):
        characters = [chr(code) for code in codes[first : first + 256]]
        text = " ".join(f"a{c}Σ a{c}Σ{c}b 1{c}\u302ez" for c in characters)
        assert compiled_words(text, lower_case) == words_of(text, lower_case)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """A small alphabet in which most words have several spellings."""
    letters = ["a", "b", "ab", "aba", "bb", "今", "ς", "σ", "[", "]", "[a", "2", "\u2028", "", "##"]
    pieces = ["##a", "##b", "##ba", "##bab", "##aab", "##σ", "##ς", "##σσ", "##2"]
    path = vocabulary_file(tmp_path_factory.mktemp("wordpiece"), [*RESERVED, *letters, *pieces])
    return load_tokenizer("bert", vocab_path=path)


@settings(max_examples=500, deadline=None)
@given(st.lists(st.text(st.sampled_from("aabbAB今ΣσÁ[2 c\n\r\u2028#")), max_size=5))
def test_pieces_are_those_of_the_rules(tokenizer: Tokenizer, texts: list[str]) -> None:
    expected = [tokenize(text, set(tokenizer.tokens), lower_case=True) for text in texts]
    ids, offsets = tokenizer.encode_batch(texts)
    assert ids.dtype == np.int32 and offsets.dtype == np.int64 and len(offsets) == len(texts) + 1
    found = [[tokenizer.tokens[i] for i in ids[a:b]] for a, b in itertools.pairwise(offsets)]
    assert found == expected
    assert [tokenizer.encode(text).tolist() for text in texts] == [
        ids[a:b].tolist() for a, b in itertools.pairwise(offsets)
    ]


@pytest.mark.parametrize(("length", "known"), [(199, True), (200, True), (201, False), (100_000, False)])
def test_words_longer_than_two_hundred_characters_are_unknown(tokenizer: Tokenizer, length: int, known: bool) -> None:
    ids = tokenizer.encode("á" * length).tolist()
    assert (ids == [tokenizer.special.unk]) is not known
    assert tokenizer.encode(f"今{'a' * length}今").tolist()[:: len(ids) + 1] == [tokenizer.vocabulary.ids["今"]] * 2


def test_special_tokens_in_text_are_text(tokenizer: Tokenizer) -> None:
    assert tokenizer.decode(tokenizer.encode("[UNK]")) == "[[UNK]]"
    assert tokenizer.special.mask not in tokenizer.encode("[MASK]")


@pytest.mark.parametrize(
    ("text", "lengths"),
    [
        (b"", []),
        (b"\n", [0]),
        (b"ab", [1]),
        (b"ab\n", [1]),
        (b"ab\r\na\r\n", [1, 1]),
        (b"\n\nab\n\nab a", [0, 0, 1, 0, 2]),
        (b"a\x00b\na\n", [1, 1]),
        (b"\xef\xbb\xbfab\n", [1]),
        ("a\u2028b\u0085b\r\rb\n".encode(), [3]),
    ],
)
def test_lines_end_at_newlines_only(tokenizer: Tokenizer, text: bytes, lengths: list[int]) -> None:
    ids, offsets = tokenizer.encode_lines(np.frombuffer(text, dtype=np.uint8))
    assert np.diff(offsets).tolist() == lengths
    assert len(ids) == sum(lengths)


@settings(max_examples=500, deadline=None)
@given(st.lists(st.sampled_from(UTF8_AND_NOT)))
def test_bytes_that_are_no_utf8_are_found_where_python_finds_them(
    tokenizer: Tokenizer, parts: list[str | bytes]
) -> None:
    content = b"".join(part.encode() if isinstance(part, str) else part for part in parts)
    try:
        content.decode()
    except UnicodeDecodeError as error:
        with pytest.raises(InvalidUtf8) as found:
            tokenizer.encode_lines(np.frombuffer(content, dtype=np.uint8))
        assert found.value.byte_offset == error.start
    else:
        tokenizer.encode_lines(np.frombuffer(content, dtype=np.uint8))


def test_lone_surrogates_are_unknown_characters(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode("ab \ud800 ab").tolist() == tokenizer.encode("ab zzz ab").tolist()


def test_slices_and_strides_of_bytes_are_accepted(tokenizer: Tokenizer) -> None:
    text = np.frombuffer(b"xaxbxbx", dtype=np.uint8)
    assert tokenizer.encode_lines(text[1::2])[0].tolist() == tokenizer.encode("abb").tolist()


def test_decoding_joins_pieces_and_parts_latin_words(tmp_path: Path) -> None:
    tokens = [*RESERVED, "hello", "world", "##ly", "今", "天", ",", "，", "3", ".", "14", "##"]
    tokenizer = load_tokenizer("bert", vocab_path=vocabulary_file(tmp_path, tokens))
    for text in ("[CLS]hello worldly今天，hello,3.14今[SEP]", "", "今天"):
        spelt = text.replace("[CLS]", "").replace("[SEP]", "")
        ids = [*[101] * ("[CLS]" in text), *tokenizer.encode(spelt), *[102] * ("[SEP]" in text)]
        assert tokenizer.decode(ids) == text
    for wrong in (-100, tokenizer.vocab_size):
        with pytest.raises(ValueError, match=str(wrong)):
            tokenizer.decode([wrong])
