"""`Sources`: the files and options that name a tokenizer, as the command line gives them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from uer_ds.errors import UserError
from uer_ds.tokenizers.special import SpecialTokens, choose_special_tokens
from uer_ds.tokenizers.vocabulary import Vocabulary


@dataclass(frozen=True)
class Sources:
    """What names a tokenizer on the command line.

    Attributes:
        tokenizer: name of the kind.
        vocab_path: vocabulary file.
        spm_model_path: sentencepiece model; where it is given, the vocabulary is the model's.
        merges_path: merges of byte-pair encoding.
        do_lower_case: bert over a vocabulary file: lower-case and strip accents.
        special_tokens_map_path: JSON file with the names of the special tokens.
    """

    tokenizer: str
    vocab_path: str | Path | None = None
    spm_model_path: str | Path | None = None
    merges_path: str | Path | None = None
    do_lower_case: bool = True
    special_tokens_map_path: str | Path | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.do_lower_case, bool):
            raise UserError(f"--do_lower_case: found {self.do_lower_case!r}, expected true or false.")

    def path(self, option: str) -> str | Path:
        """The file of an option that this tokenizer cannot do without."""
        path: str | Path | None = getattr(self, option)
        if path is None:
            raise UserError(f"--{option}: missing, the {self.tokenizer} tokenizer needs this file; give its path.")
        return path

    def file_vocabulary(self) -> Vocabulary:
        """The vocabulary file's tokens."""
        return Vocabulary.read(self.path("vocab_path"))

    def special_tokens(self, vocabulary: Vocabulary) -> SpecialTokens:
        """The names of the special tokens for this vocabulary."""
        return choose_special_tokens(self.special_tokens_map_path, vocabulary.ids)
