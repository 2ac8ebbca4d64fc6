"""`Tokenizer`: text to ids and back, many texts at once, as numpy arrays.

It promises UER-py's ids. No tokenizer adds special tokens, truncates or pads; special tokens spelt in a text are
ordinary text (UER-py's way: `[MASK]` becomes `[`, `ma`, `##sk`, `]`). Whoever needs a separator inserts its id.
"""

from __future__ import annotations

import hashlib
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uer_ds.errors import UserError
from uer_ds.storage.files import write_file
from uer_ds.tokenizers.special import SpecialIds, SpecialTokens
from uer_ds.tokenizers.spelling import UNKNOWN, Spelling, fold
from uer_ds.tokenizers.vocabulary import Vocabulary

Ids = NDArray[np.int32]
Offsets = NDArray[np.int64]

FILE_NAMES = {
    "vocab_path": "vocab.txt",
    "spm_model_path": "spm.model",
    "merges_path": "merges.txt",
    "special_tokens_map_path": "special_tokens_map.json",
}
"""Option -> the fixed name of its file in a saved tokenizer."""

CONVERT_HINT = "convert the file first, e.g. with `iconv -f GB18030 -t UTF-8`"
"""What to do about text that is no UTF-8; most often it is GBK."""

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


class InvalidUtf8(ValueError):
    """Bytes that are no UTF-8; `byte_offset` is the position of the first byte of the bad character."""

    def __init__(self, byte_offset: int):
        super().__init__(f"byte {byte_offset} begins no valid UTF-8 character")
        self.byte_offset = byte_offset


class Tokenizer(ABC):
    """Text to ids and back.

    Attributes:
        kind: the name that chose it ("bert", "char", ...).
        vocabulary: tokens by id.
        special_tokens: how the special tokens are spelt.
        special: their ids.
        options: values besides the files that change ids, e.g. {"do_lower_case": True}.
        files: option -> content, all that is needed to build the same tokenizer again (see `FILE_NAMES`).
        fingerprint: sha256 over kind, options and files. Equal fingerprints, equal ids.
    """

    def __init__(
        self,
        kind: str,
        vocabulary: Vocabulary,
        special_tokens: SpecialTokens,
        files: dict[str, bytes],
        options: dict[str, Any] | None = None,
    ):
        self.kind = kind
        self.vocabulary = vocabulary
        self.special_tokens = special_tokens
        self.special = SpecialIds.find(special_tokens, vocabulary.ids)
        self.options = options or {}
        self.files = {**files, "special_tokens_map_path": special_tokens.to_json().encode()}
        self.fingerprint = self._fingerprint()

    @property
    def tokens(self) -> list[str]:
        """Id -> token (for sentencepiece: the pieces)."""
        return self.vocabulary.tokens

    @property
    def vocab_size(self) -> int:
        return len(self.vocabulary)

    @abstractmethod
    def encode_batch(self, texts: Sequence[str]) -> tuple[Ids, Offsets]:
        """Ids of all texts one after the other, int32 [n], and where each begins, int64 [len(texts) + 1]."""

    @abstractmethod
    def decode(self, ids: Iterable[int]) -> str:
        """Readable text. Special tokens are shown as they are spelt."""

    def encode(self, text: str) -> Ids:
        """Ids of one text, int32 [n]."""
        return self.encode_batch([text])[0]

    def encode_lines(self, text: NDArray[np.uint8]) -> tuple[Ids, Offsets]:
        """As `encode_batch` for UTF-8 bytes with one text a line.

        Lines end at `\\n` only (the last one may lack it); a `\\r` before it belongs to the line end. Raises
        `InvalidUtf8`.
        """
        try:
            lines = text.tobytes().decode("utf-8").split("\n")
        except UnicodeDecodeError as error:
            raise InvalidUtf8(error.start) from error
        if lines[-1] == "":
            lines.pop()
        return self.encode_batch([line.removesuffix("\r") for line in lines])

    def spelling(self) -> Spelling:
        """What the tokens stand for, to find them again in a text."""
        return Spelling([UNKNOWN if i == self.special.unk else fold(t) for i, t in enumerate(self.tokens)], fold)

    def require(self, *names: str) -> None:
        """Make sure that the vocabulary has these special tokens ("mask", "cls", ...); otherwise a `UserError`."""
        missing = [name for name in names if getattr(self.special, name) is None]
        if missing:
            spelt = ", ".join(f"{name} ({self.special_tokens.names()[name] or 'not in the map'})" for name in missing)
            hint = " (`uer-ds vocab --sentinels_num 100` makes one)" if "sentinel" in missing else ""
            raise UserError(
                f"{self.vocabulary.source}: no entry for the special token {spelt}, which is needed here; choose a "
                f"vocabulary that has it{hint} or name the right spelling with --special_tokens_map_path."
            )

    def save(self, folder: Path) -> dict[str, Any]:
        """Write the tokenizer's files into `folder` and return the description `load_saved_tokenizer` reads."""
        for option, content in self.files.items():
            write_file(Path(folder) / FILE_NAMES[option], content)
        return {
            "tokenizer": self.kind,
            **self.options,
            "files": {option: FILE_NAMES[option] for option in self.files},
            "vocab_size": self.vocab_size,
            "fingerprint": self.fingerprint,
        }

    def check_ids(self, ids: Iterable[int]) -> list[int]:
        """`ids` as a list; raises ValueError for one outside the vocabulary (-100 must not count from the end)."""
        checked = [int(index) for index in ids]
        for index in checked:
            if not 0 <= index < self.vocab_size:
                raise ValueError(f"id {index} is outside the vocabulary of {self.vocab_size} entries")
        return checked

    def _fingerprint(self) -> str:
        digest = hashlib.sha256(json.dumps([self.kind, self.options], sort_keys=True).encode())
        for option in sorted(self.files):
            digest.update(hashlib.sha256(option.encode()).digest())
            digest.update(hashlib.sha256(self.files[option]).digest())
        return digest.hexdigest()


def encodable(text: str) -> str:
    """`text` with lone surrogates (JSON can spell them, UTF-8 cannot) replaced by the noncharacter U+FFFF.

    Either is a character that no vocabulary knows, so the ids stay those of UER-py.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return _LONE_SURROGATE.sub("\uffff", text)
    return text


def offsets_of(lengths: Iterable[int]) -> Offsets:
    """Where each of several pieces begins when they are put one after the other, int64 [number + 1]."""
    return np.concatenate([[0], np.cumsum(np.fromiter(lengths, dtype=np.int64))]).astype(np.int64)
