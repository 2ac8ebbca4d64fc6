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
    """A tokenizer with UER-py's ids.

        tokenizer = uer_ds.load_tokenizer(tokenizer="bert", vocab_path="google_zh_vocab.txt")
        ids = tokenizer.encode("今天天气很好")                      # int32 [6], no special tokens added
        ids, offsets = tokenizer.encode_batch(["今天", "天气很好"])  # text i is ids[offsets[i] : offsets[i + 1]]
        tokenizer.decode(ids), tokenizer.vocab_size, tokenizer.special.mask, tokenizer.fingerprint

    Args:
        tokenizer: "bert" (WordPiece; over a sentencepiece model where one is given), "bpe", "char", "space" or
            "xlmroberta".
        vocab_path: vocabulary, one token a line; its number from 0 is the token's id.
        spm_model_path: sentencepiece model; the vocabulary is then the model's, and `vocab_path` is not needed.
        merges_path: merges of byte-pair encoding ("bpe" only).
        do_lower_case: "bert" over a vocabulary: lower-case and strip accents.
        special_tokens_map_path: JSON of the special tokens' names, where they are neither BERT's nor XLM-RoBERTa's.

    The vocabulary, special ids and `decode` need numpy only; the first `encode` of "bert" compiles for some seconds,
    once a machine, and says so. Raises `UserError` for a missing or foreign file, naming the option.
    """
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
