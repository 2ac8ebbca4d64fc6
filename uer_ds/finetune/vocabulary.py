"""The tokenizer of a model to fine-tune: the options' files, else what lies with its weights.

Checkpoints of ours and result folders carry a whole tokenizer; Hugging Face folders have vocabulary, sentencepiece or
merges files, or only a tokenizer.json. Tasks that want characters or words take the vocabulary with a tokenizer of
their own.
"""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import Any

from uer_ds.config.data import TokenizerConfig
from uer_ds.convert.tokenizer_files import THEIR_NAMES, saved_tokenizer, vocabulary_files
from uer_ds.errors import UserError
from uer_ds.storage.files import read_json_object
from uer_ds.tokenizers import Tokenizer, load_tokenizer

XLM_ROBERTA = "xlm-roberta"
"""The model type whose sentencepiece ids are shifted."""

FILES = ("vocab_path", "spm_model_path", "merges_path", "special_tokens_map_path")


def find_tokenizer(kind: str | None, folder: Path | None, options: TokenizerConfig, given: bool) -> Tokenizer:
    """The tokenizer for weights in `folder` (None: there is no folder with more than weights).

    Args:
        kind: the only kind that the task's data fits, or None.
        options: used where they name a file.
        given: whether the options were given at all; otherwise a saved tokenizer is taken as it is.
    """
    if folder is None or any(getattr(options, name) for name in FILES):
        lower = options.do_lower_case == "true"
        files: dict[str, Any] = {name: getattr(options, name) for name in FILES}
        return load_tokenizer(kind or options.tokenizer, do_lower_case=lower, **files)
    saved = saved_tokenizer(folder)
    if saved is None:
        return _theirs(kind, folder, options, given)
    if kind in (None, saved.kind) and not given:
        return saved
    return _from_files(kind or options.tokenizer, saved.files, options.do_lower_case == "true", folder)


def _theirs(kind: str | None, folder: Path, options: TokenizerConfig, given: bool) -> Tokenizer:
    """From the files of a Hugging Face folder."""
    files = vocabulary_files(folder)
    if not files:
        raise UserError(f"{folder}: no vocabulary came with these weights; give --vocab_path or --spm_model_path.")
    lower = options.do_lower_case == "true" if given else _lower_case(folder)
    return _from_files(kind or (options.tokenizer if given else _kind(files, folder)), files, lower, folder)


def _kind(files: dict[str, bytes], folder: Path) -> str:
    if "merges_path" in files:
        return "bpe"
    is_shifted = "spm_model_path" in files and _json(folder / "config.json").get("model_type") == XLM_ROBERTA
    return "xlmroberta" if is_shifted else "bert"


def _lower_case(folder: Path) -> bool:
    """What the folder says; BERT's default where it says nothing."""
    said = _json(folder / "tokenizer_config.json").get("do_lower_case")
    if said is None:
        said = (_json(folder / "tokenizer.json").get("normalizer") or {}).get("lowercase", True)
    return bool(said)


def _json(path: Path) -> dict[str, Any]:
    return read_json_object(path) if path.is_file() else {}


def _from_files(kind: str, files: dict[str, bytes], lower: bool, folder: Path) -> Tokenizer:
    """A tokenizer that was read from `files` (option -> content)."""
    with tempfile.TemporaryDirectory() as temporary:
        paths = {option: Path(temporary) / THEIR_NAMES.get(option, option) for option in files}
        for option, path in paths.items():
            path.write_bytes(files[option])
        given: dict[str, Any] = dict(paths)
        loaded = load_tokenizer(kind, do_lower_case=lower, **given)
    loaded.vocabulary = dataclasses.replace(loaded.vocabulary, source=str(folder))
    return loaded
