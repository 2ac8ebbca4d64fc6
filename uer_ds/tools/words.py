"""Vectors of words from a model's table, and the nearest words, alone or in a context. V vocabulary, E width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from uer_ds.data.batch import padded
from uer_ds.errors import UserError
from uer_ds.models.model import Model
from uer_ds.storage.files import replacing, write_file
from uer_ds.storage.lazy import LazyTensor
from uer_ds.storage.lines import read_lines
from uer_ds.tokenizers import Tokenizer

TABLES = ("embedding.word.embedding.weight", "embedding.dual.embedding_0.word.embedding.weight")
"""Where a model has its words, one stream or two."""

Neighbour = tuple[str, float]
"""A word and the cosine between the vectors."""


def word_table(tensors: Mapping[str, LazyTensor | Tensor]) -> Tensor:
    """[V, E] float32, from a file's tensors or a model's. Raises UserError for weights without a table of words."""
    for name in TABLES:
        if name in tensors:
            found = tensors[name]
            return (found.read() if isinstance(found, LazyTensor) else found).float().cpu()
    raise UserError(f"these weights have no {TABLES[0]}; give a checkpoint of a language model.")


def write_words(path: Path, table: Tensor, tokens: Sequence[str]) -> int:
    """The table as .npy with its words beside it (same name, .txt), or else as word2vec's text.

    In the text a word ends at a blank, so blanks inside words become U+2581; returns in how many. The file gets its
    name when it is whole.
    """
    strange = 0
    with replacing(path) as temporary:
        if path.suffix == ".npy":
            with temporary.open("wb") as file:
                np.save(file, table.numpy())
            write_file(path.with_suffix(".txt"), "".join(f"{token}\n" for token in tokens))
        else:
            with temporary.open("w", encoding="utf-8", newline="\n") as text:
                print(*table.shape, file=text)
                for token, vector in zip(tokens, table.numpy(), strict=True):
                    word = "\u2581".join(token.split()) if token.split() != [token] else token
                    strange += word != token
                    print(word or "\u2581", *(f"{number:.6g}" for number in vector.tolist()), file=text)
    return strange


@dataclass(frozen=True)
class Asked:
    """A word whose neighbours are wanted, its ids, and the ids around it where it stands in a context."""

    word: str
    ids: list[int]
    left: list[int]
    right: list[int]
    context: str | None = None

    @property
    def place(self) -> int:
        """Of the word's first token in its row, which begins with [CLS]."""
        return 1 + len(self.left)


def read_asked(line: str, where: str, tokenizer: Tokenizer, seq_length: int) -> Asked:
    """`word`, or `word TAB context`. Raises UserError where the context has no such word, or it lies too far behind."""
    word, tab, context = line.partition("\t")
    ids = _ids(tokenizer, word)
    if not ids:
        raise UserError(f"{where}: no word; expected a word, or a word, a tab and a text that has it.")
    if not tab:
        return Asked(word, ids, [], [])
    left, found, right = context.partition(word)
    if not found:
        raise UserError(f"{where}: the text {context[:40]!r} does not have the word {word!r}.")
    before, behind = (tokenizer.encode(part).tolist() for part in (left, right))
    room = seq_length - 2 - len(before) - len(ids)
    if room < 0:
        raise UserError(f"{where}: {word!r} ends behind {seq_length - 2} tokens; give a greater --seq_length.")
    return Asked(word, ids, before, behind[:room], context)


def _ids(tokenizer: Tokenizer, word: str) -> list[int]:
    """The token of the vocabulary that is spelt so (UER-py knows only these), else the word's tokens."""
    known = tokenizer.vocabulary.ids.get(word)
    return [known] if known is not None else [int(token) for token in tokenizer.encode(word)]


def nearest_in_table(
    table: Tensor, asked: Asked, candidates: Tensor, tokens: Sequence[str], topn: int
) -> list[Neighbour]:
    """By cosine of rows of the table [V, E]; a word of several tokens has their mean. `candidates`: ids [C]."""
    vector = table[asked.ids].mean(0, keepdim=True)
    others = candidates[~torch.isin(candidates, torch.tensor(asked.ids))]
    return _best(F.cosine_similarity(table[others], vector), others, tokens, topn)


@torch.no_grad()
def nearest_in_context(
    model: Model, tokenizer: Tokenizer, asked: Asked, candidates: Tensor, topn: int, batch_size: int
) -> list[Neighbour]:
    """By cosine of the encoder's outputs: that of each candidate in the word's place against the word's own there."""
    device = next(model.parameters()).device
    cls, sep = int(tokenizer.special.cls or 0), int(tokenizer.special.sep or 0)
    place = asked.place

    def states(middles: Sequence[list[int]]) -> Tensor:
        rows = [[cls, *asked.left, *middle, *asked.right, sep] for middle in middles]
        hidden = model.encode(padded(rows).to(device))
        return torch.stack(
            [row[place : place + len(middle)].mean(0) for row, middle in zip(hidden, middles, strict=True)]
        )

    own = states([asked.ids]).float()
    others = candidates[~torch.isin(candidates, torch.tensor(asked.ids))]
    found = [
        F.cosine_similarity(states([[token] for token in some]).float(), own).cpu()
        for some in (part.tolist() for part in others.split(batch_size))
    ]
    return _best(torch.cat(found), others, tokenizer.tokens, topn)


def _best(cosines: Tensor, ids: Tensor, tokens: Sequence[str], topn: int) -> list[Neighbour]:
    best = cosines.topk(min(topn, len(cosines)))
    return [
        (tokens[token], value) for token, value in zip(ids[best.indices].tolist(), best.values.tolist(), strict=True)
    ]


def candidates_of(tokenizer: Tokenizer, path: Path | None) -> Tensor:
    """Ids of what may be a neighbour: the file's words (first field of each line), else the vocabulary.

    Special and unused tokens, which are written in brackets, never are. Raises UserError for a file that has none.
    """
    ids = tokenizer.vocabulary.ids
    words = tokenizer.tokens if path is None else _words(path)
    found = [ids[word] for word in words if word in ids and not (word.startswith(("[", "<")) and len(word) > 2)]
    if not found:
        raise UserError(f"{path}: none of its words is in the model's vocabulary ({tokenizer.vocabulary.source}).")
    return torch.tensor(list(dict.fromkeys(found)))


def _words(path: Path) -> list[str]:
    return [line.split("\t")[0].split(" ")[0] for _, line in read_lines(path)]
