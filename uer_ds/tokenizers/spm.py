"""Sentencepiece models: the pieces of the `bert` tokenizer with `--spm_model_path`, and `xlmroberta`.

Text goes to the model as it is (its own normaliser applies). Then one rule of UER-py: a piece that ends in a digit and
a comma is encoded once more without the comma, and the comma becomes a piece of its own. The rule was meant to remove
the word mark that the second pass puts in front, but never does, so an extra mark appears; the ids are kept as they
are.

A call uses one thread: whoever has many texts runs many processes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from uer_ds.errors import UserError
from uer_ds.tokenizers.base import Ids, Offsets, Tokenizer, encodable, offsets_of
from uer_ds.tokenizers.sources import Sources
from uer_ds.tokenizers.special import SpecialTokens
from uer_ds.tokenizers.vocabulary import Vocabulary, read_bytes

WORD_MARK = "\u2581"
FAIRSEQ_FIRST = ("<s>", "<pad>", "</s>", "<unk>")
FAIRSEQ_LAST = "<mask>"


@dataclass(frozen=True)
class SpmModel:
    """A sentencepiece model file that was read.

    Attributes:
        processor: the library's model.
        content: the bytes of the model file.
        vocabulary: its pieces by id.
    """

    processor: Any
    content: bytes
    vocabulary: Vocabulary

    @property
    def unknown(self) -> int:
        """Id of a piece that the model does not have."""
        return int(self.processor.unk_id())


def read_model(path: str | Path) -> SpmModel:
    """Read a sentencepiece model file."""
    import sentencepiece

    content = read_bytes(path, "sentencepiece model")
    try:
        processor = sentencepiece.SentencePieceProcessor(model_proto=content)
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"{path}: no sentencepiece model ({len(content)} bytes that the library cannot read); "
            "give a complete .model file."
        ) from error
    pieces = [processor.id_to_piece(index) for index in range(processor.get_piece_size())]
    return SpmModel(processor, content, Vocabulary(pieces, str(path)))


def load_xlmroberta(sources: Sources) -> Tokenizer:
    """The model's pieces under fairseq's ids: four special tokens first, the mask last."""
    model = read_model(sources.path("spm_model_path"))
    pieces = [piece for piece in model.vocabulary.tokens if piece not in FAIRSEQ_FIRST]
    vocabulary = Vocabulary([*FAIRSEQ_FIRST, *pieces, FAIRSEQ_LAST], model.vocabulary.source)
    return SentencePieceTokenizer("xlmroberta", model, vocabulary, sources.special_tokens(vocabulary))


class SentencePieceTokenizer(Tokenizer):
    """Ids of a model's pieces in `vocabulary`, which holds the same pieces in the model's order or another one."""

    def __init__(self, kind: str, model: SpmModel, vocabulary: Vocabulary, special_tokens: SpecialTokens):
        super().__init__(kind, vocabulary, special_tokens, {"spm_model_path": model.content})
        self._processor = model.processor
        self._replacements = _replacements(model)
        self._digit_commas = np.zeros(len(model.vocabulary), dtype=np.bool_)
        self._digit_commas[list(self._replacements)] = True
        if vocabulary is model.vocabulary:
            unknown: int | None = model.unknown
        else:
            self.require("unk")
            unknown = self.special.unk
        own = [vocabulary.ids.get(piece, unknown) for piece in model.vocabulary.tokens]
        own[model.unknown] = unknown
        self._own_ids = np.array(own, dtype=np.int32)  # the model's id -> ours

    def encode_batch(self, texts: Sequence[str]) -> tuple[Ids, Offsets]:
        rows = self._processor.encode([encodable(text) for text in texts], out_type="numpy", num_threads=1)
        offsets = offsets_of(map(len, rows))
        ids = np.concatenate([np.empty(0, dtype=np.int32), *rows])
        if self._digit_commas[ids].any():
            ids, offsets = self._split_commas(ids, offsets)
        return self._own_ids[ids], offsets

    def decode(self, ids: Iterable[int]) -> str:
        special = set(self.special_tokens.names().values())
        parts: list[str] = []
        pieces: list[str] = []  # of the stretch between two special tokens
        for piece in (self.tokens[index] for index in self.check_ids(ids)):
            if piece in special:
                parts += [self._processor.decode_pieces(pieces), piece]
                pieces = []
            else:
                pieces.append(piece)
        return "".join([*parts, self._processor.decode_pieces(pieces)])

    def _split_commas(self, ids: Ids, offsets: Offsets) -> tuple[Ids, Offsets]:
        """Put its replacement in the place of each piece that ends in a digit and a comma."""
        places = np.flatnonzero(self._digit_commas[ids])
        parts: list[Ids] = []
        begin = 0
        for place in places.tolist():
            parts += [ids[begin:place], self._replacements[int(ids[place])]]
            begin = place + 1
        growth = offsets_of(len(replacement) - 1 for replacement in parts[1::2])
        moved = offsets + growth[np.searchsorted(places, offsets)]
        return np.concatenate([*parts, ids[begin:]]), moved


def _replacements(model: SpmModel) -> dict[int, Ids]:
    """Model id of each piece that ends in a digit and a comma -> model ids of what replaces it (see the module)."""
    replacements = {}
    for index, piece in enumerate(model.vocabulary.tokens):
        if len(piece) > 1 and piece.endswith(",") and piece[-2].isdigit():
            rest = model.processor.encode(piece[:-1].replace(WORD_MARK, ""), out_type=int)
            replacements[index] = np.array([*rest, model.processor.piece_to_id(",")], dtype=np.int32)
    return replacements
