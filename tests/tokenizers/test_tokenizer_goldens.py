"""Ids as UER-py gives them: the hard lines with the checkout, every line of every golden file where `shared` is there.

`tests/golden/tokenizers` holds 146 lines (scripts, forms, control characters, special tokens) and vocabularies that
were cut down to the entries, merges, pieces and normalising rules that these lines need, with their ids numbered anew.
That changes no result: the longest match, the next merge and the best pieces are among those that were kept.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from uer_ds.tokenizers import load_tokenizer

ZH, EN, EN_CASED = "google_zh_vocab.txt", "google_uncased_en_vocab.txt", "google_cased_en_vocab.txt"
GPT2, MERGES = "huggingface_gpt2_vocab.txt", "huggingface_gpt2_merges.txt"
CLUE, TINY = "cluecorpussmall_spm.model", "tiny_xlmr_spm.model"
XLMR_MAP, DEFAULT_MAP = "xlmroberta_special_tokens_map.json", "special_tokens_map.json"

GOLDENS: dict[str, dict[str, Any]] = {
    "bert_zh_lower": {"vocab_path": ZH},
    "bert_zh_cased": {"vocab_path": ZH, "do_lower_case": False},
    "bert_en_uncased_lower": {"vocab_path": EN},
    "bert_en_cased_cased": {"vocab_path": EN_CASED, "do_lower_case": False},
    "bert_en_cased_lower_default": {"vocab_path": EN_CASED},
    "bert_spm_cluecorpussmall": {"spm_model_path": CLUE},
    "bert_tiny_spm": {"spm_model_path": TINY, "special_tokens_map_path": XLMR_MAP},
    "bpe_gpt2": {"tokenizer": "bpe", "vocab_path": GPT2, "merges_path": MERGES},
    "char_zh": {"tokenizer": "char", "vocab_path": ZH},
    "space_zh": {"tokenizer": "space", "vocab_path": ZH},
    "xlmroberta_cluecorpussmall_spm_default_map": {
        "tokenizer": "xlmroberta",
        "spm_model_path": CLUE,
        "special_tokens_map_path": DEFAULT_MAP,
    },
    "xlmroberta_tiny_spm": {"tokenizer": "xlmroberta", "spm_model_path": TINY, "special_tokens_map_path": XLMR_MAP},
}
SIZES = {ZH: 21128, EN: 30522, EN_CASED: 28996, GPT2: 50265, CLUE: 100000, TINY: 8000}


SMALL = Path(__file__).resolve().parents[1] / "golden" / "tokenizers"
SMALL_GOLDENS: dict[str, dict[str, Any]] = {
    "bert_zh_lower": {"vocab_path": "zh_vocab.txt"},
    "char_zh": {"tokenizer": "char", "vocab_path": "zh_vocab.txt"},
    "space_zh": {"tokenizer": "space", "vocab_path": "zh_vocab.txt"},
    "bert_en_cased_cased": {"vocab_path": "en_cased_vocab.txt", "do_lower_case": False},
    "bpe_gpt2": {"tokenizer": "bpe", "vocab_path": "gpt2_vocab.txt", "merges_path": "gpt2_merges.txt"},
    "bert_tiny_spm": {"spm_model_path": "spm.model"},
    "xlmroberta_tiny_spm": {"tokenizer": "xlmroberta", "spm_model_path": "spm.model"},
}


@pytest.mark.parametrize("name", SMALL_GOLDENS)
def test_ids_of_the_hard_lines(name: str) -> None:
    options = {key: SMALL / value if key.endswith("_path") else value for key, value in SMALL_GOLDENS[name].items()}
    tokenizer = load_tokenizer(**options)
    header, *rows = (json.loads(line) for line in (SMALL / "lines.jsonl").read_text("utf-8").split("\n")[:-1])
    lines = [dict(zip(header, row, strict=True)) for row in rows]
    assert len(lines) == 146 and set(header) == {"text", *SMALL_GOLDENS}
    ids, offsets = tokenizer.encode_batch([line["text"] for line in lines])
    for line, begin, end in zip(lines, offsets[:-1], offsets[1:], strict=True):
        assert ids[begin:end].tolist() == line[name] == tokenizer.encode(line["text"]).tolist(), line["text"]


def test_every_golden_file_is_used(shared: Path) -> None:
    assert {path.stem for path in (shared / "golden/tokenizers").glob("*.jsonl")} == set(GOLDENS)


@pytest.mark.parametrize(
    ("name", "with_map"),
    [
        (name, with_map)
        for name, options in GOLDENS.items()
        for with_map in {False, "special_tokens_map_path" in options}
    ],
)
def test_ids_are_those_of_uer_py(shared: Path, name: str, with_map: bool) -> None:
    """With the map of special tokens named, and with the one that is chosen when none is named."""
    golden = shared / "golden/tokenizers"
    options = dict(GOLDENS[name])
    if not with_map:
        options.pop("special_tokens_map_path", None)
    for option in [key for key in options if key.endswith("_path")]:
        path = shared / "data/models" / options[option]
        options[option] = path if path.exists() else golden / options[option]
    tokenizer = load_tokenizer(**options)
    lines = [json.loads(line) for line in (golden / f"{name}.jsonl").read_text(encoding="utf-8").split("\n")[:-1]]
    assert len(lines) == 296
    ids, offsets = tokenizer.encode_batch([line["text"] for line in lines])
    for line, begin, end in zip(lines, offsets[:-1], offsets[1:], strict=True):
        assert ids[begin:end].tolist() == line["ids"] == tokenizer.encode(line["text"]).tolist(), line["text"]


@pytest.mark.parametrize("name", SIZES)
def test_sizes(shared: Path, name: str) -> None:
    path = next(
        folder / name for folder in (shared / "data/models", shared / "golden/tokenizers") if (folder / name).exists()
    )
    if name.endswith(".model"):
        assert load_tokenizer("bert", spm_model_path=path).vocab_size == SIZES[name]
        extra = 5 if name == CLUE else 2  # of the five fairseq names the tiny model has three
        assert load_tokenizer("xlmroberta", spm_model_path=path).vocab_size == SIZES[name] + extra
    else:
        tokenizer = load_tokenizer("char", vocab_path=path)
        assert tokenizer.vocab_size == SIZES[name]


def test_the_google_vocabulary_keeps_its_odd_entries(shared: Path) -> None:
    tokenizer = load_tokenizer("bert", vocab_path=shared / "data/models" / ZH)
    special = tokenizer.special
    assert (special.pad, special.unk, special.cls, special.sep, special.mask) == (0, 100, 101, 102, 103)
    assert special.sentinel is None
    assert tokenizer.tokens[343] == "\u2028"
    assert tokenizer.vocabulary.ids["##😎"] == 21127
    sentinels = load_tokenizer("bert", vocab_path=shared / "data/models/google_zh_with_sentinel_vocab.txt")
    assert sentinels.special.sentinel == 21128
