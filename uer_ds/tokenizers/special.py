"""Special tokens: what they are called, and which ids they have in a vocabulary.

UER-py reads one `models/special_tokens_map.json` from the working directory when it is imported. Here the names belong
to a tokenizer; without a file the usual names are tried: BERT's, and those of XLM-RoBERTa where the vocabulary has
only these.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Container, Mapping
from dataclasses import dataclass
from pathlib import Path

from uer_ds.errors import UserError, unknown_name
from uer_ds.tokenizers.vocabulary import read_text


@dataclass(frozen=True)
class SpecialTokens:
    """How the special tokens are spelt; None: this family has no such token."""

    pad: str | None = "[PAD]"
    unk: str | None = "[UNK]"
    cls: str | None = "[CLS]"
    sep: str | None = "[SEP]"
    mask: str | None = "[MASK]"
    sentinel: str | None = "<extra_id_0>"

    @classmethod
    def read(cls, path: str | Path) -> SpecialTokens:
        """Read UER's JSON form (`{"pad_token": "[PAD]", ...}`); roles that are left out do not exist."""
        try:
            values = json.loads(read_text(path, "special tokens"))
        except json.JSONDecodeError as error:
            raise UserError(f"{path}: no valid JSON ({error}); expected an object of role -> token.") from error
        if not isinstance(values, dict) or not all(isinstance(token, str) for token in values.values()):
            raise UserError(f"{path}: expected a JSON object of role -> token, as in {DEFAULT.to_json()}.")
        roles = {f"{field.name}_token": field.name for field in dataclasses.fields(cls)}
        for key in values:
            if key not in roles:
                raise unknown_name("special token role", key, roles, str(path))
        return cls(**{name: values.get(key) for key, name in roles.items()})

    def to_json(self) -> str:
        """UER's JSON form."""
        named = {f"{name}_token": token for name, token in self.names().items() if token is not None}
        return json.dumps(named, ensure_ascii=False)

    def names(self) -> dict[str, str | None]:
        """Role -> spelling."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class SpecialIds:
    """Ids of the special tokens in one vocabulary; None: it has no such entry."""

    pad: int | None
    unk: int | None
    cls: int | None
    sep: int | None
    mask: int | None
    sentinel: int | None

    @classmethod
    def find(cls, names: SpecialTokens, ids: Mapping[str, int]) -> SpecialIds:
        """Look the names up in a vocabulary."""
        return cls.of({role: ids[token] for role, token in names.names().items() if token and token in ids})

    @classmethod
    def of(cls, ids: Mapping[str, int]) -> SpecialIds:
        """Read role -> id; roles that are left out do not exist."""
        return cls(**{field.name: ids.get(field.name) for field in dataclasses.fields(cls)})


DEFAULT = SpecialTokens()
XLM_ROBERTA = SpecialTokens(pad="<pad>", unk="<unk>", cls="<s>", sep="</s>", mask="<mask>", sentinel=None)


def choose_special_tokens(path: str | Path | None, vocabulary: Container[str]) -> SpecialTokens:
    """The names in the file at `path`; without one, the usual names that this vocabulary knows.

    [UNK] decides: UER-py's own names are kept whenever the vocabulary has it, since ids depend on it.
    """
    if path is not None:
        return SpecialTokens.read(path)
    if DEFAULT.unk not in vocabulary and XLM_ROBERTA.unk in vocabulary:
        return XLM_ROBERTA
    return DEFAULT
