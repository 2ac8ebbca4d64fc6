"""A model under another vocabulary: rows are found again by their token, new tokens get new rows.

Every tensor with one row a token is changed (word tables, output layers and their biases), and tied ones stay tied.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from uer_ds.convert.average import FILE_SUFFIXES, write_like
from uer_ds.convert.formats import open_checkpoint
from uer_ds.convert.our_model import join_ties
from uer_ds.convert.staging import refuse_existing
from uer_ds.convert.tokenizer_files import saved_tokenizer
from uer_ds.errors import UserError
from uer_ds.models.layers import INIT_STD
from uer_ds.storage.lazy import LazyTensor, TensorMap
from uer_ds.storage.places import TOKENIZER_FOLDER
from uer_ds.tokenizers import Tokenizer, Vocabulary, load_tokenizer

ROWS_OF_TOKENS = re.compile(
    r"(tgt_)?embedding\.(dual\.embedding_[01]\.)?word\.embedding\.weight"
    r"|target\.(mlm\.linear_2|lm\.output_layer|bilm\.output_layer)\.(weight|bias)"
)
SEED = 7


@dataclass(frozen=True)
class Adapted:
    """How many rows were taken over, how many are new, and the tensors that were changed."""

    kept: int
    new: int
    tensors: tuple[str, ...]


def adapt_vocabulary(
    model_path: str | Path,
    old_vocabulary: Vocabulary,
    new_vocabulary: Vocabulary,
    output_path: str | Path,
    force: bool = False,
) -> Adapted:
    """Write the model of `model_path` (UER's names) for `new_vocabulary`, which a folder gets as its tokenizer too.

    Raises `UserError` when it was not trained with `old_vocabulary`.
    """
    output = Path(output_path)
    is_file = output.suffix in FILE_SUFFIXES
    refuse_existing(output, force, is_file)
    checkpoint = open_checkpoint(model_path)
    if not checkpoint.is_ours:
        raise UserError(f"{model_path}: has Hugging Face's names; convert it with `uer-ds convert --to uer` first.")
    rows = checkpoint.tensors["embedding.word.embedding.weight"].shape[0] if checkpoint.tensors else 0
    if rows != len(old_vocabulary):
        raise UserError(
            f"{old_vocabulary.source}: has {len(old_vocabulary)} tokens, but the word table of {model_path} has {rows} "
            "rows; give the vocabulary that the model was trained with."
        )
    sources = source_rows(old_vocabulary.tokens, new_vocabulary.tokens)
    before = dict(checkpoint.tensors)
    join_ties(before)
    tensors = with_new_rows(before, rows, sources)
    changed = tuple(name for name in tensors if tensors[name] is not before[name])
    if checkpoint.config:
        checkpoint = replace(checkpoint, config={**checkpoint.config, "vocab_size": len(new_vocabulary)})
    write_like(checkpoint, tensors, output, None if is_file else _tokenizer_of(checkpoint.folder, new_vocabulary))
    kept = sum(source >= 0 for source in sources)
    return Adapted(kept, len(sources) - kept, changed)


def _tokenizer_of(folder: Path | None, vocabulary: Vocabulary) -> Tokenizer | None:
    """The tokenizer saved in `folder`, over another vocabulary; None: there is none."""
    old = saved_tokenizer(folder)
    if folder is None or old is None:
        return None
    if "spm_model_path" in old.files:
        raise UserError(
            f"{folder}: has a sentencepiece tokenizer, whose tokens no vocabulary file replaces; write a .bin "
            "and use it with --spm_model_path."
        )
    merges, names = (folder / TOKENIZER_FOLDER / name for name in ("merges.txt", "special_tokens_map.json"))
    return load_tokenizer(
        old.kind,
        vocab_path=vocabulary.source,
        merges_path=merges if merges.is_file() else None,
        do_lower_case=bool(old.options.get("do_lower_case", True)),
        special_tokens_map_path=names,
    )


def source_rows(old_tokens: Sequence[str], new_tokens: Sequence[str]) -> list[int]:
    """For each new id the id that the token had, or -1."""
    ids = {token: index for index, token in enumerate(old_tokens)}
    return [ids.get(token, -1) for token in new_tokens]


def with_new_rows(tensors: TensorMap, rows: int, sources: Sequence[int]) -> dict[str, LazyTensor]:
    """The tensors with their rows rearranged; those that are not of this vocabulary stay (a target vocabulary)."""
    made: dict[int, LazyTensor] = {}
    result = dict(tensors)
    for name, tensor in tensors.items():
        if not ROWS_OF_TOKENS.fullmatch(name) or tensor.shape[0] != rows:
            continue
        if id(tensor) not in made:
            shape = (len(sources), *tensor.shape[1:])
            made[id(tensor)] = LazyTensor(shape, tensor.dtype, functools.partial(_rearranged, tensor, tuple(sources)))
        result[name] = made[id(tensor)]
    return result


def _rearranged(tensor: LazyTensor, sources: tuple[int, ...]) -> torch.Tensor:
    """New rows are drawn as in training from scratch, the same at every read; new biases are zero."""
    old = tensor.read()
    index = torch.tensor(sources)
    if old.ndim == 1:
        new = torch.zeros(len(sources), dtype=old.dtype)
    else:
        generator = torch.Generator().manual_seed(SEED)
        new = torch.empty(len(sources), old.shape[1]).normal_(std=INIT_STD, generator=generator).to(old.dtype)
    new[index >= 0] = old[index[index >= 0]]
    return new
