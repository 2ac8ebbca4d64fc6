"""BERT out to Hugging Face and back: UER-py's own numbers, and a folder that transformers loads without a network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from uer_ds.convert import convert
from uer_ds.tokenizers import load_tokenizer

transformers = pytest.importorskip("transformers")

FAMILIES = ["bert", "roberta", "megatron_bert"]
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


@pytest.mark.parametrize("layernorm", ["normal", "uer"])
@pytest.mark.parametrize("family", FAMILIES)
def test_hidden_states_and_logits_are_those_of_uer(golden, tmp_path, family, layernorm):
    values = json.loads((golden / family / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**values, "layernorm": layernorm}))
    convert(golden / family, tmp_path / "hf", config_path=tmp_path / "config.json")
    io = load_file(golden / family / ("io.safetensors" if layernorm == "uer" else "io_standard_layernorm.safetensors"))

    architecture = json.loads((tmp_path / "hf" / "config.json").read_text())["architectures"][0]
    model = getattr(transformers, architecture).from_pretrained(tmp_path / "hf", output_hidden_states=True).eval()
    segments = io["seg"]
    with torch.no_grad():
        found = model(
            input_ids=io["src"],
            token_type_ids=(segments - 1).clamp(min=0),
            attention_mask=(segments > 0).long(),
        )
    real = segments > 0
    assert (found.hidden_states[-1] - io["encoder"])[real].abs().max() < 2e-5
    logits = found.prediction_logits if family != "roberta" else found.logits
    targets, expected = ("tgt_mlm", "logits_mlm") if family != "roberta" else ("tgt", "logits")
    assert (logits[io[targets] > 0] - io[expected]).abs().max() < 5e-5


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_come_back(golden, tmp_path, family):
    convert(golden / family, tmp_path / "hf")
    convert(tmp_path / "hf", tmp_path / "back.bin", to="uer")
    before = load_file(golden / family / "model.safetensors")
    after = torch.load(tmp_path / "back.bin", weights_only=True)
    assert before.keys() == after.keys()
    before["embedding.seg.embedding.weight"][0] = 0  # the row of padding has no place there
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert json.loads((tmp_path / "back_config.json").read_text())["heads_num"] == 4


def test_folded_layer_norms_come_back_within_one_unit_in_the_last_place(golden, tmp_path):
    values = json.loads((golden / "bert" / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**values, "layernorm": "uer"}))
    convert(golden / "bert", tmp_path / "hf", config_path=tmp_path / "config.json")
    convert(tmp_path / "hf", tmp_path / "back.bin", to="uer", layernorm="uer")
    before = load_file(golden / "bert" / "model.safetensors")
    after = torch.load(tmp_path / "back.bin", weights_only=True)
    for name in (name for name in before if name.endswith("gamma")):
        limit = torch.nextafter(before[name], torch.full_like(before[name], torch.inf)) - before[name]
        assert ((after[name] - before[name]).abs() <= limit).all(), name


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
