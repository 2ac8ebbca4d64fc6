"""What all tokenizers promise: saving, fingerprints, required tokens, pickling, errors of the options."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.tokenizers.uer_rules import vocabulary_file
from uer_ds.errors import UserError
from uer_ds.tokenizers import load_saved_tokenizer, load_tokenizer
from uer_ds.tokenizers.bpe import byte_symbols
from uer_ds.tokenizers.vocabulary import RESERVED

TEXTS = ["今天 ab12 Aé", "", "ab\u2028今"]
TOKENS = [*RESERVED, *byte_symbols(), "今", "ab", "##1", "##2", "\u2028", "<extra_id_0>"]


@pytest.fixture
def options(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "merges.txt").write_text("#version: 0.2\na b\n")
    return {"vocab_path": vocabulary_file(tmp_path, TOKENS), "merges_path": tmp_path / "merges.txt"}


def ids_of(tokenizer: Any) -> list[list[int]]:
    return [part.tolist() for part in tokenizer.encode_batch(TEXTS)]


@pytest.mark.parametrize("kind", ["bert", "char", "space", "bpe"])
def test_saved_and_pickled_tokenizers_are_the_same(options: dict[str, Any], tmp_path: Path, kind: str) -> None:
    tokenizer = load_tokenizer(kind, do_lower_case=False, **options)
    ids = ids_of(tokenizer)
    description = json.loads(json.dumps(tokenizer.save(tmp_path / "saved")))
    loaded = load_saved_tokenizer(tmp_path / "saved", description)
    for other in (loaded, pickle.loads(pickle.dumps(tokenizer))):
        assert other.fingerprint == tokenizer.fingerprint and other.special == tokenizer.special
        assert other.tokens == tokenizer.tokens and ids_of(other) == ids
    assert (tmp_path / "saved/vocab.txt").exists()


def test_a_pickle_carries_no_tables(options: dict[str, Any]) -> None:
    tokenizer = load_tokenizer(**options)
    tokenizer.encode("今")
    assert len(pickle.dumps(tokenizer)) < 50_000


@pytest.mark.parametrize("name", ["vocab.txt", "special_tokens_map.json"])
def test_saved_files_that_were_changed_are_refused(options: dict[str, Any], tmp_path: Path, name: str) -> None:
    folder = tmp_path / "saved"
    description = load_tokenizer(**options).save(folder)
    (folder / name).write_text((folder / name).read_text().replace("[MASK]", "[MUSK]"))
    with pytest.raises(UserError, match="changed after they were saved"):
        load_saved_tokenizer(folder, description)


def test_fingerprints_follow_what_changes_ids(options: dict[str, Any], tmp_path: Path) -> None:
    crlf = tmp_path / "crlf.txt"
    crlf.write_bytes(options["vocab_path"].read_bytes().replace(b"\n", b"\r\n"))
    names = tmp_path / "map.json"
    names.write_text('{"unk_token": "[UNK]", "mask_token": "[unused1]"}')
    base = load_tokenizer(**options)
    assert len(base.fingerprint) == 64
    assert load_tokenizer(**{**options, "vocab_path": crlf}).fingerprint == base.fingerprint
    others = [
        load_tokenizer(**options, do_lower_case=False),
        load_tokenizer("char", **options),
        load_tokenizer(**options, special_tokens_map_path=names),
        load_tokenizer(vocab_path=vocabulary_file(tmp_path / "more", [*TOKENS, "more"])),
    ]
    assert len({base.fingerprint, *(other.fingerprint for other in others)}) == 5
    assert load_tokenizer("char", **options, do_lower_case=False).fingerprint == others[1].fingerprint


def test_special_ids_and_what_is_required(options: dict[str, Any], tmp_path: Path) -> None:
    tokenizer = load_tokenizer(**options)
    assert tokenizer.special.sentinel == len(TOKENS) - 1
    tokenizer.require("pad", "unk", "cls", "sep", "mask", "sentinel")
    names = tmp_path / "map.json"
    names.write_text('{"unk_token": "[UNK]", "cls_token": "<start>"}')
    lacking = load_tokenizer(**options, special_tokens_map_path=names)
    with pytest.raises(UserError, match=r"vocab.txt: .* mask \(not in the map\), cls \(<start>\)"):
        lacking.require("mask", "unk", "cls")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "no valid JSON"),
        ('["[PAD]"]', "expected a JSON object"),
        ('{"pad_token": 0}', "expected a JSON object"),
        ('{"maks_token": "[MASK]"}', "did you mean 'mask_token'"),
    ],
)
def test_maps_of_special_tokens_that_cannot_be_used(
    options: dict[str, Any], tmp_path: Path, content: str, words: str
) -> None:
    path = tmp_path / "map.json"
    path.write_text(content)
    with pytest.raises(UserError, match=words):
        load_tokenizer(**options, special_tokens_map_path=path)


def test_mistaken_options(options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="did you mean 'bert'"):
        load_tokenizer("brt", **options)
    with pytest.raises(UserError, match="found 'True', expected true or false"):
        load_tokenizer(**options, do_lower_case="True")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="--vocab_path: missing, the bert tokenizer needs this file"):
        load_tokenizer()
    with pytest.raises(UserError, match="--merges_path: missing"):
        load_tokenizer("bpe", vocab_path=options["vocab_path"])


def test_vocabulary_and_decoding_need_no_compiler(options: dict[str, Any]) -> None:
    """Training loads a tokenizer on machines without numba; encoding there says what to install."""
    script = (
        "import sys; sys.modules['numba'] = None\n"
        "from uer_ds.tokenizers import load_tokenizer\n"
        f"tokenizer = load_tokenizer(vocab_path={str(options['vocab_path'])!r})\n"
        "print(tokenizer.decode([101, tokenizer.vocab_size - 2]), 'torch' in sys.modules)\n"
        "tokenizer.encode('a')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.startswith("[CLS]") and done.stdout.rstrip().endswith("False")
    assert "UserError" in done.stderr and "pip install numba" in done.stderr


def test_the_package_gives_tokenizers_and_datasets_by_name(options: dict[str, Any]) -> None:
    import uer_ds

    tokenizer = uer_ds.load_tokenizer(tokenizer="bert", vocab_path=options["vocab_path"], do_lower_case=True)
    ids, offsets = tokenizer.encode_batch(["今天", "AB12"])
    assert tokenizer.decode(ids[offsets[1] : offsets[2]]) == "ab12"
    assert (tokenizer.encode("今天") == ids[: offsets[1]]).all() and len(tokenizer.fingerprint) == 64
    assert tokenizer.tokens[tokenizer.special.mask] == "[MASK]" and tokenizer.vocab_size == len(TOKENS)
    assert uer_ds.open_dataset.__module__ == "uer_ds.data.dataset"
    with pytest.raises(AttributeError, match=r"has no attribute 'load_tokeniser'; it has .*load_tokenizer"):
        uer_ds.load_tokeniser  # noqa: B018
