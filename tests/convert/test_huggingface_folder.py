"""A Hugging Face folder is complete: models, tokenizers and pipelines of transformers load it without a network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from uer_ds.convert import convert
from uer_ds.tokenizers import load_tokenizer

transformers = pytest.importorskip("transformers")

TEXT = "今天天气[MASK]好，Café 2021年 unaffable"


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture
def golden(shared) -> Path:
    return shared / "golden" / "models"


def write_vocabulary(path: Path, size: int) -> Path:
    """A vocabulary of `size` entries with U+2028 among them, as in Google's."""
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "\u2028", *"今天气很好，年cafe", "##a", "##f", "##e"]
    tokens += [f"[unused{n}]" for n in range(size - len(tokens))]
    path.write_text("".join(token + "\n" for token in tokens), encoding="utf-8")
    return path


def test_the_folder_is_complete_and_loads_offline(golden, tmp_path):
    tokenizer = load_tokenizer("bert", vocab_path=write_vocabulary(tmp_path / "vocab.txt", 200))
    convert(golden / "roberta", tmp_path / "hf", tokenizer=tokenizer)
    loaded = transformers.AutoTokenizer.from_pretrained(tmp_path / "hf")
    assert loaded.convert_ids_to_tokens([4, 5, 6]) == ["[MASK]", "\u2028", "今"]
    assert loaded(TEXT, "天气").token_type_ids[-1] == 1
    plain = TEXT.replace("[MASK]", "")
    assert loaded(plain, add_special_tokens=False).input_ids == tokenizer.encode(plain).tolist()
    assert transformers.AutoModelForMaskedLM.from_pretrained(tmp_path / "hf").config.pad_token_id == 0
    fill = transformers.pipeline("fill-mask", model=str(tmp_path / "hf"))
    assert len(fill("今天天气[MASK]好")) == 5
    names = {file.name for file in (tmp_path / "hf").iterdir()}
    assert names == {
        "README.md",
        "config.json",
        "model.safetensors",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "vocab.txt",
    }


def test_the_real_vocabulary_keeps_every_id(shared, golden, tmp_path):
    tokenizer = load_tokenizer("bert", vocab_path=shared / "data" / "models" / "google_zh_vocab.txt")
    convert(golden / "roberta", tmp_path / "hf", tokenizer=tokenizer)
    loaded = transformers.AutoTokenizer.from_pretrained(tmp_path / "hf")
    assert loaded.convert_ids_to_tokens(list(range(21128))) == tokenizer.tokens
    long_word = "a" * 150
    assert loaded(long_word, add_special_tokens=False).input_ids == tokenizer.encode(long_word).tolist()
