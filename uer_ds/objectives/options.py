"""`RowOptions`: all that decides the samples of an objective over a dataset; one record for all of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from uer_ds.config.data import SEQ_LENGTH, SamplingConfig
from uer_ds.config.options import option
from uer_ds.errors import UserError
from uer_ds.objective_specs import ObjectiveSpec
from uer_ds.tokenizers.special import SpecialIds

if TYPE_CHECKING:
    from uer_ds.data.dataset import Dataset


@dataclass(frozen=True, kw_only=True)
class RowOptions(SamplingConfig):
    """The options of `SamplingConfig`, and what the dataset and the run know. Objectives take those they need.

    Attributes:
        vocab_size: ids of the source side are below it.
        special: ids of the special tokens.
        target_special: those of the target side's vocabulary, where it has one of its own.
        seed: of order, masks, cuts and partners.
        seq_length, tgt_seq_length: S and T, tokens a row.
    """

    vocab_size: int
    special: SpecialIds
    target_special: SpecialIds | None = None
    seed: int = 7
    seq_length: int = option(SEQ_LENGTH, "tokens in a row", least=1)
    tgt_seq_length: int = option(SEQ_LENGTH, "tokens in a target row", least=1)

    @classmethod
    def of(cls, dataset: Dataset, sampling: SamplingConfig, seed: int) -> RowOptions:
        """The options for `dataset`, whose manifest knows the special ids; lengths left open are `SEQ_LENGTH`."""
        source, target = dataset.manifest.tokenizer, dataset.manifest.target_tokenizer
        return cls(
            vocab_size=source.vocab_size,
            special=SpecialIds.of(source.special),
            target_special=SpecialIds.of((target or source).special),
            seed=seed,
            **{name: value for name, value in sampling_values(vars(sampling)).items() if value is not None},
        )

    @property
    def packed(self) -> bool:
        """Rows are full, of several documents."""
        return not self.no_packing

    def special_ids(self, spec: ObjectiveSpec) -> tuple[int, ...]:
        """The ids of the special tokens that an objective needs, in the order of `spec.required_tokens`."""
        return special_ids(self.special, spec)


def sampling_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `values` that are options of `SamplingConfig`."""
    names = {field.name for field in dataclasses.fields(SamplingConfig)}
    return {name: value for name, value in values.items() if name in names}


def special_ids(special: SpecialIds, spec: ObjectiveSpec) -> tuple[int, ...]:
    """The ids of `spec.required_tokens`; `UserError` when the vocabulary lacks one."""
    ids = [getattr(special, role) for role in spec.required_tokens]
    for role, token_id in zip(spec.required_tokens, ids, strict=True):
        if token_id is None:
            raise UserError(
                f"the vocabulary of the dataset has no {role} token, which the {spec.name} objective needs;"
                " preprocess with a vocabulary that has one."
            )
    return tuple(ids)


def require_length(option: str, length: int, least: int, objective: str) -> None:
    """`UserError` when rows are too short for the objective's special tokens and something between them."""
    if length < least:
        raise UserError(f"{option} is {length}; the {objective} objective needs rows of at least {least} tokens.")
