"""Parameter names of UER-py's earlier years, for users with old installations; the inverse of `models.old_names`.

* 2021 (2019 to early 2022, most files of the model zoo page): flat heads, the decoder inside the target, nsp and sop.
* 2022 (to July 2023): flat heads, the decoder beside the target.
* 2023: today's.
"""

from __future__ import annotations

import functools
import re

import torch

from uer_ds.config.model import ModelConfig
from uer_ds.convert.families.bart import position_table
from uer_ds.errors import UserError
from uer_ds.storage.lazy import LazyTensor, TensorMap

ERAS = ("2021", "2022", "2023")
PRESENT = "2023"

_PARTS = {"word": "word_embedding", "pos": "position_embedding", "seg": "segment_embedding"}
_FLAT_HEADS = (
    (r"^target\.mlm\.linear_([12])\.", r"target.mlm_linear_\1."),
    (r"^target\.mlm\.layer_norm\.", r"target.layer_norm."),
    (r"^target\.(?:lm|bilm)\.output_layer\.", r"target.output_layer."),
    (r"^target\.cls\.linear_([12])\.", r"target.linear_\1."),
    (r"^embedding\.dual\.embedding_([01])\.", r"embedding.embedding_\1."),
)
_DECODER_IN_TARGET = ((r"^tgt_embedding\.", "target.embedding."), (r"^decoder\.", "target.decoder."))


def with_names_of(era: str, tensors: TensorMap, config: ModelConfig) -> dict[str, LazyTensor]:
    """The tensors under the names of `era`, and what models of that year have besides (sinusoids)."""
    if era == PRESENT:
        return dict(tensors)
    named = {**tensors, **_sinusoids(config)}
    lost = next((name for name in tensors if name.startswith("embedding.dual.stream_")), None)
    if lost:
        raise UserError(f"--era {era}: siamese models had no {lost.rsplit('.', 1)[0]} before 2023; choose --era 2023.")
    sentence_pairs = "sop" if config.factorized_embedding_parameterization else "nsp"
    rules = [*_FLAT_HEADS, (r"^target\.sp\.linear_", f"target.{sentence_pairs if era == '2021' else 'sp'}_linear_")]
    if era == "2021":
        rules += _DECODER_IN_TARGET
    return {_old_name(name, rules): tensor for name, tensor in named.items()}


def _old_name(name: str, rules: list[tuple[str, str]]) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return re.sub(r"\b(word|pos|seg)\.embedding\.weight$", lambda found: f"{_PARTS[found[1]]}.weight", name)


def _sinusoids(config: ModelConfig) -> dict[str, LazyTensor]:
    """The tables that models with fixed positions saved in those years, [P, 1, E]."""
    sides = {"embedding": config.embedding, "tgt_embedding": config.tgt_embedding if config.decoder else ()}
    sides = {side: parts for side, parts in sides.items() if "sinusoidalpos" in parts}
    if sides and config.sinusoidal_layout != "interleaved":
        raise UserError(
            f"sinusoidal_layout is {config.sinusoidal_layout!r}, but UER-py before 2023 has 'interleaved' sinusoids; "
            "the model would compute something else there, choose --era 2023."
        )
    rows, width = config.max_seq_length, config.emb_size or 0
    read = functools.partial(_table, rows, width)
    return {f"{side}.pe": LazyTensor((rows, 1, width), torch.float32, read) for side in sides}


def _table(rows: int, width: int) -> torch.Tensor:
    return position_table(rows, width, "interleaved").unsqueeze(1)
