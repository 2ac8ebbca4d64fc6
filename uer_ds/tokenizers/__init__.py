"""Text -> ids: the tokenizers of UER-py, numpy only (no torch).

    tokenizer = load_tokenizer("bert", vocab_path="google_zh_vocab.txt")
    ids = tokenizer.encode("今天天气很好")

numba, sentencepiece and tokenizers are imported when text is first encoded with them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from uer_ds.errors import UserError
from uer_ds.registry import TOKENIZERS
from uer_ds.tokenizers.base import InvalidUtf8, Tokenizer
from uer_ds.tokenizers.build import build_vocabulary
from uer_ds.tokenizers.sources import Sources
from uer_ds.tokenizers.special import SpecialIds
from uer_ds.tokenizers.vocabulary import Vocabulary, write_vocabulary

__all__ = [
    "InvalidUtf8",
    "SpecialIds",
    "Tokenizer",
    "Vocabulary",
    "build_vocabulary",
    "load_saved_tokenizer",
    "load_tokenizer",
    "write_vocabulary",
]


def load_tokenizer(
    tokenizer: str = "bert",
    vocab_path: str | Path | None = None,
    spm_model_path: str | Path | None = None,
    merges_path: str | Path | None = None,
    do_lower_case: bool = True,
    special_tokens_map_path: str | Path | None = None,
) -> Tokenizer:
    """The tokenizer of that name over these files (see `Sources`)."""
    sources = Sources(tokenizer, vocab_path, spm_model_path, merges_path, do_lower_case, special_tokens_map_path)
    loaded: Tokenizer = TOKENIZERS[tokenizer](sources)
    return loaded


def load_saved_tokenizer(folder: str | Path, description: Mapping[str, Any]) -> Tokenizer:
    """The inverse of `Tokenizer.save`; a `UserError` when the files are not those that were saved."""
    files = {option: Path(folder) / name for option, name in description["files"].items()}
    tokenizer = load_tokenizer(description["tokenizer"], do_lower_case=description.get("do_lower_case", True), **files)
    if tokenizer.fingerprint != description["fingerprint"]:
        raise UserError(
            f"{folder}: the tokenizer files have the fingerprint {tokenizer.fingerprint[:12]}, expected "
            f"{description['fingerprint'][:12]}; they were changed after they were saved, restore them."
        )
    return tokenizer
