"""Parameter names of UER-py's earlier years -> today's.

Four eras of names exist (2019 to 2023); files of the model zoo page mostly carry the second. Renaming goes by pattern
and needs no configuration, except that a recurrent encoder with two directions makes a flat language-model head a
`bilm` one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_PARTS = {"word_embedding": "word", "position_embedding": "pos", "segment_embedding": "seg"}
_PART = re.compile(r"\b(word|position|segment)_embedding\.weight$")

_RULES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"^module\.", ""),
        (r"^target\.embedding\.", "tgt_embedding."),
        (r"^target\.decoder\.", "decoder."),
        (r"^target\.mlm_linear_([12])\.", r"target.mlm.linear_\1."),
        (r"^target\.layer_norm\.", "target.mlm.layer_norm."),
        (r"^target\.(?:nsp|sop|sp)_linear_([12])\.", r"target.sp.linear_\1."),
        (r"^target\.linear_([12])\.", r"target.cls.linear_\1."),
        (r"^embedding\.embedding_([01])\.", r"embedding.dual.embedding_\1."),
        (r"^embedding\.stream_([01])_layer_norm\.", r"embedding.dual.stream_\1_layer_norm."),
    )
)

_FLAT_HEAD = re.compile(r"^target\.output_layer\.")
_CLOZE_HEAD = re.compile(r"^target\.(?=linear_)")
_SINUSOIDS = re.compile(r"^(tgt_)?embedding\.(sinusoidalpos\.)?pe$")


def present_names(names: Iterable[str]) -> dict[str, str]:
    """Old name -> present name, for all `names` of a file; present names stay as they are."""
    names = list(names)
    # prompt and cloze models have an mlm head that is called like an old cls head
    cloze = "target.layer_norm.gamma" in names and not any(name.startswith("target.mlm_linear_") for name in names)
    two_directions = any(".rnn_backward." in name for name in names)
    head = "target.bilm.output_layer." if two_directions else "target.lm.output_layer."
    first = {name: _CLOZE_HEAD.sub("target.mlm.", name) if cloze else name for name in names}
    return {name: _FLAT_HEAD.sub(head, _rename(named)) for name, named in first.items()}


def is_fixed_table(name: str) -> bool:
    """True for the sinusoids that files of 2021 carry along; models compute them."""
    return _SINUSOIDS.match(name) is not None


def _rename(name: str) -> str:
    for pattern, replacement in _RULES:
        name = pattern.sub(replacement, name)
    return _PART.sub(lambda found: f"{_PARTS[found[0].removesuffix('.weight')]}.embedding.weight", name)
