"""Tokenizers of an exported folder give our ids, whatever their kind; vocabularies come back beside a UER file."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from uer_ds.convert import convert
from uer_ds.convert.tokenizer_files import write_tokenizer
from uer_ds.tokenizers import Tokenizer, load_tokenizer

transformers = pytest.importorskip("transformers")

TEXTS = ["今天天气很好，2021年 unaffable Café", "  two  words ", "深圳 abc abc", "，。", "a" * 150]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
CASED = {"pad_token": "<pad>", "unk_token": "<unk>", "cls_token": "<s>", "sep_token": "</s>", "mask_token": "<mask>"}
GOLDEN_KINDS = {
    "bert_zh_lower": {"vocab_path": "google_zh_vocab.txt"},
    "bert_zh_cased": {"vocab_path": "google_zh_vocab.txt", "do_lower_case": False},
    "char_zh": {"tokenizer": "char", "vocab_path": "google_zh_vocab.txt"},
    "bert_spm_cluecorpussmall": {"spm_model_path": "cluecorpussmall_spm.model"},
    "bpe_gpt2": {
        "tokenizer": "bpe",
        "vocab_path": "huggingface_gpt2_vocab.txt",
        "merges_path": "huggingface_gpt2_merges.txt",
        "special_tokens_map_path": "xlmroberta_special_tokens_map.json",
    },
}
SPECIALS_IN_TEXT = 244  # from here on the hand-made cases spell special tokens, which are recognised there
ODDITIES = {175, 178, 197, 203, 220, 240, 241}  # private use, final sigma, digit and comma, combining marks


def lines(path: Path, tokens: list[str]) -> Path:
    path.write_text("".join(f"{token}\n" for token in tokens), encoding="utf-8")
    return path


def sentencepiece_model(path: Path) -> Path:
    import sentencepiece

    words = [first + second for first in "今天气很好深圳abc" for second in "年月日一二三xyz"]
    content = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([" ".join(words[n : n + 9]) for n in range(0, len(words), 3)]),
        model_writer=content,
        vocab_size=60,
        hard_vocab_limit=False,
        control_symbols=["[PAD]", "[CLS]", "[SEP]", "[MASK]"],
        unk_piece="[UNK]",
        minloglevel=2,
    )
    path.write_bytes(content.getvalue())
    return path


def made(kind: str, folder: Path) -> Tokenizer:
    """A small tokenizer of each kind."""
    if kind in ("spm", "xlmroberta"):
        name = "bert" if kind == "spm" else kind
        options = {}
        if kind == "xlmroberta":
            (folder / "map.json").write_text(json.dumps(CASED))
            options = {"special_tokens_map_path": folder / "map.json"}
        return load_tokenizer(name, spm_model_path=sentencepiece_model(folder / "spm.model"), **options)
    if kind == "bpe":
        symbols = [chr(n) for n in [*range(33, 127), *range(161, 173), *range(174, 324)]]
        vocabulary = lines(folder / "vocab.txt", [*SPECIAL, *symbols, "ab", "abc", "Ġabc"])
        merges = lines(folder / "merges.txt", ["#version: 0.2", "a b", "ab c", "Ġ abc"])
        return load_tokenizer("bpe", vocab_path=vocabulary, merges_path=merges)
    vocabulary = lines(
        folder / "vocab.txt", [*SPECIAL, *"今天气很好，年 cafe深圳", "##a", "abc", "words", "two", "\u2028"]
    )
    return load_tokenizer(kind, vocab_path=vocabulary)


@pytest.mark.parametrize("kind", ["bert", "spm", "xlmroberta", "bpe", "char", "space"])
def test_ids_are_ours(kind, tmp_path):
    tokenizer = made(kind, tmp_path)
    folder = tmp_path / "hf"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "bert"}')
    write_tokenizer(folder, tokenizer, max_length=32, segments=True, closing_token=True)
    loaded = transformers.AutoTokenizer.from_pretrained(folder)
    texts = [text for text in TEXTS if kind != "space" or "  " not in text.strip()]  # an empty field is a token of ours
    for text in texts:
        assert loaded(text, add_special_tokens=False).input_ids == tokenizer.encode(text).tolist()
    special = tokenizer.special
    assert loaded(TEXTS[0]).input_ids[0] == special.cls
    assert loaded("，", "，").input_ids[-1] == special.sep
    assert (loaded.pad_token_id, loaded.mask_token_id) == (special.pad, special.mask)
    assert loaded.model_max_length == 32


@pytest.mark.parametrize("name", GOLDEN_KINDS)
def test_goldens_of_uer(shared, tmp_path, name):
    data = shared / "data" / "models"
    options = {
        option: value if option in ("tokenizer", "do_lower_case") else data / value
        for option, value in GOLDEN_KINDS[name].items()
    }
    tokenizer = load_tokenizer(**options)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    write_tokenizer(tmp_path, tokenizer, max_length=512, segments=True, closing_token=True)
    loaded = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert loaded.convert_ids_to_tokens(list(range(tokenizer.vocab_size))) == tokenizer.tokens
    with (shared / "golden" / "tokenizers" / f"{name}.jsonl").open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    for number, row in enumerate(rows[:SPECIALS_IN_TEXT]):
        if number not in ODDITIES:
            assert loaded(row["text"], add_special_tokens=False).input_ids == row["ids"], row["text"]


def test_causal_models_are_not_closed(tmp_path):
    tokenizer = made("bert", tmp_path)
    write_tokenizer(tmp_path, tokenizer, max_length=32, segments=False, closing_token=False)
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    loaded = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert loaded("今天").input_ids == [tokenizer.special.cls, *tokenizer.encode("今天")]
    assert "token_type_ids" not in loaded("今天")


@pytest.mark.parametrize("kind", ["bert", "spm", "bpe"])
def test_the_vocabulary_stands_beside_a_uer_file(small_bert, tmp_path, kind):
    tokenizer = made(kind, tmp_path)
    model = small_bert(tmp_path / "model", vocab_size=tokenizer.vocab_size)
    convert(model, tmp_path / "hf", tokenizer=tokenizer, verify=False)
    convert(tmp_path / "hf", tmp_path / "out" / "model.bin", to="uer", verify=False)
    out = tmp_path / "out"
    if kind == "spm":
        again = load_tokenizer("bert", spm_model_path=out / "model_spm.model")
    elif kind == "bpe":
        again = load_tokenizer("bpe", vocab_path=out / "model_vocab.txt", merges_path=out / "model_merges.txt")
    else:
        again = load_tokenizer("bert", vocab_path=out / "model_vocab.txt")
    assert again.tokens == tokenizer.tokens
    assert again.encode(TEXTS[2]).tolist() == tokenizer.encode(TEXTS[2]).tolist()


def test_sentinels_are_special(tmp_path):
    vocabulary = lines(tmp_path / "vocab.txt", [*SPECIAL, *"今天", "<extra_id_0>", "<extra_id_1>"])
    write_tokenizer(tmp_path, load_tokenizer("bert", vocab_path=vocabulary), 32, False, True)
    (tmp_path / "config.json").write_text('{"model_type": "t5"}')
    loaded = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert loaded("今<extra_id_1>天", add_special_tokens=False).input_ids == [5, 8, 6]
