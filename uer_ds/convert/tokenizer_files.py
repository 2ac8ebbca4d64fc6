"""Tokenizer files from one format to the other: of a Hugging Face folder, and the vocabulary beside a UER file.

The class named is the generic one, which takes `tokenizer.json` as it is: BertTokenizer would rebuild it and forget
words of more than 100 letters.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from uer_ds.convert.tokenizer_backends import build_backend
from uer_ds.errors import UserError
from uer_ds.storage.files import read_json_object, write_json
from uer_ds.storage.places import TARGET_TOKENIZER_FOLDER, TOKENIZER_FOLDER
from uer_ds.tokenizers import Tokenizer, load_saved_tokenizer

ROLES = ("pad", "unk", "cls", "sep", "mask")
# Option -> the name of its file in a Hugging Face folder.
THEIR_NAMES = {"vocab_path": "vocab.txt", "merges_path": "merges.txt", "spm_model_path": "spm.model"}
THEIR_SPM_NAMES = ("spm.model", "spiece.model", "sentencepiece.bpe.model", "tokenizer.model")
THEIR_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    *THEIR_SPM_NAMES,
)
# What stands beside weights and stays true of other weights of the same model.
COPIED = (
    "config.json",
    "generation_config.json",
    "huggingface.json",
    "task.json",
    "modules.json",
    "1_Pooling",
    TOKENIZER_FOLDER,
    TARGET_TOKENIZER_FOLDER,
    *THEIR_FILES,
)


def saved_tokenizer(checkpoint: Path | None, name: str = TOKENIZER_FOLDER) -> Tokenizer | None:
    """The tokenizer saved in one of our checkpoint folders, under that name, if there is one."""
    if checkpoint is None:
        return None
    folder = checkpoint / name
    if not (folder / "description.json").is_file():
        return None
    return load_saved_tokenizer(folder, read_json_object(folder / "description.json"))


def save_tokenizer(checkpoint: Path, tokenizer: Tokenizer) -> None:
    """The inverse of `saved_tokenizer`."""
    folder = checkpoint / TOKENIZER_FOLDER
    folder.mkdir()
    write_json(folder / "description.json", tokenizer.save(folder))


def write_tokenizer(folder: Path, tokenizer: Tokenizer, max_length: int, segments: bool, closing_token: bool) -> None:
    """Write tokenizer.json, tokenizer_config.json, special_tokens_map.json and the vocabulary files."""
    backend = build_backend(tokenizer)
    special = special_tokens(tokenizer)
    _add_special_tokens(backend, tokenizer, special, segments, closing_token)
    backend.save(str(folder / "tokenizer.json"))
    inputs = ["input_ids", "token_type_ids", "attention_mask"] if segments else ["input_ids", "attention_mask"]
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": max_length,
        "model_input_names": inputs,
        "clean_up_tokenization_spaces": False,
        **tokenizer.options,
        **special,
    }
    write_json(folder / "tokenizer_config.json", config)
    write_json(folder / "special_tokens_map.json", special)
    for option, name in THEIR_NAMES.items():
        if option in tokenizer.files:
            (folder / name).write_bytes(tokenizer.files[option])


def special_tokens(tokenizer: Tokenizer) -> dict[str, Any]:
    """Hugging Face's role -> token, for the special tokens that are in the vocabulary."""
    names = tokenizer.special_tokens.names()
    found: dict[str, Any] = {
        f"{role}_token": names[role] for role in ROLES if getattr(tokenizer.special, role) is not None
    }
    sentinels = [f"<extra_id_{n}>" for n in range(100) if f"<extra_id_{n}>" in tokenizer.vocabulary.ids]
    return found | ({"additional_special_tokens": sentinels} if sentinels else {})


def _add_special_tokens(
    backend: Any, tokenizer: Tokenizer, special: dict[str, Any], segments: bool, closing_token: bool
) -> None:
    """Protect the special tokens, and put [CLS] and [SEP] around texts (`closing_token`: also at their end)."""
    from tokenizers import AddedToken, processors

    names = [token for role, token in special.items() if role != "additional_special_tokens"]
    names += special.get("additional_special_tokens", [])
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in names])
    if tokenizer.special.cls is None or tokenizer.special.sep is None:
        return
    cls, sep, second = special["cls_token"], special["sep_token"], int(segments)
    backend.post_processor = processors.TemplateProcessing(
        single=f"{cls}:0 $A:0" + (f" {sep}:0" if closing_token else ""),
        pair=f"{cls}:0 $A:0 {sep}:0 $B:{second}" + (f" {sep}:{second}" if closing_token else ""),
        special_tokens=[(cls, tokenizer.special.cls), (sep, tokenizer.special.sep)],
    )


def refuse_larger_vocabulary(tokenizer: Tokenizer | None, rows: int | None) -> None:
    """Raise `UserError` when a tokenizer has ids that the model's word table lacks."""
    if tokenizer is not None and rows is not None and tokenizer.vocab_size > rows:
        raise UserError(
            f"{tokenizer.vocabulary.source}: has {tokenizer.vocab_size} tokens, but the model's word table has {rows} "
            "rows; give the vocabulary that the model was trained with."
        )


def copy_their_files(source: Path, folder: Path) -> None:
    """Take the tokenizer files of one Hugging Face folder over into another."""
    for name in THEIR_FILES:
        if (source / name).is_file():
            shutil.copy(source / name, folder / name)


def vocabulary_files(source: Path) -> dict[str, bytes]:
    """The vocabulary of a Hugging Face folder as UER-py reads it: option -> content of the file."""
    for name in THEIR_SPM_NAMES:
        if (source / name).is_file():
            return {"spm_model_path": (source / name).read_bytes()}
    merges = {"merges_path": (source / "merges.txt").read_bytes()} if (source / "merges.txt").is_file() else {}
    if (source / "vocab.txt").is_file():
        return {"vocab_path": (source / "vocab.txt").read_bytes(), **merges}
    if (source / "vocab.json").is_file() and merges:
        return {"vocab_path": _lines(read_json_object(source / "vocab.json")), **merges}
    if (source / "tokenizer.json").is_file():
        return _from_tokenizer_json(read_json_object(source / "tokenizer.json"))
    return {}


def _from_tokenizer_json(values: dict[str, Any]) -> dict[str, bytes]:
    model = values.get("model", {})
    if not isinstance(model.get("vocab"), dict):  # a unigram model cannot be turned back into a sentencepiece file
        return {}
    added = {entry["content"]: entry["id"] for entry in values.get("added_tokens", [])}
    files = {"vocab_path": _lines({**model["vocab"], **added})}
    if model.get("merges"):
        pairs = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
        files["merges_path"] = ("#version: 0.2\n" + "".join(f"{pair}\n" for pair in pairs)).encode()
    return files


def _lines(ids: dict[str, int]) -> bytes:
    return "".join(f"{token}\n" for token in sorted(ids, key=lambda token: ids[token])).encode()
