"""Our tokenizers rebuilt with the `tokenizers` library, id by id.

Differences that remain: special tokens spelt in a text are recognised there, and sentencepiece text gets no second
pass for pieces that end in a digit and a comma (UER-py's oddity).
"""

from __future__ import annotations

from typing import Any

from uer_ds.errors import UserError
from uer_ds.tokenizers import Tokenizer

MAX_WORD_CHARACTERS = 200  # UER-py's limit; the library's default is 100
UNIGRAM = 1  # model_type of a sentencepiece model
WORD_MARK = "\u2581"


def build_backend(tokenizer: Tokenizer) -> Any:
    """A `tokenizers.Tokenizer` with the ids of `tokenizer`, without special tokens."""
    if tokenizer.kind in ("bert", "xlmroberta"):
        return _sentencepiece(tokenizer) if "spm_model_path" in tokenizer.files else _wordpiece(tokenizer)
    return {"bpe": _byte_pairs, "char": _characters, "space": _words}[tokenizer.kind](tokenizer)


def _wordpiece(tokenizer: Tokenizer) -> Any:
    """BERT's own form: basic tokens, then the longest pieces."""
    from tokenizers import Tokenizer as Backend
    from tokenizers import decoders, models, normalizers, pre_tokenizers

    unknown = tokenizer.special_tokens.unk
    backend = Backend(
        models.WordPiece(tokenizer.vocabulary.ids, unk_token=unknown, max_input_chars_per_word=MAX_WORD_CHARACTERS)
    )
    backend.normalizer = normalizers.BertNormalizer(lowercase=bool(tokenizer.options.get("do_lower_case", True)))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    return backend


def _sentencepiece(tokenizer: Tokenizer) -> Any:
    """A unigram model with its scores and its normaliser, in the order of our ids."""
    from sentencepiece import SentencePieceProcessor
    from sentencepiece import sentencepiece_model_pb2 as protocol
    from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers
    from tokenizers import Tokenizer as Backend

    content = tokenizer.files["spm_model_path"]
    proto = protocol.ModelProto.FromString(content)  # type: ignore[attr-defined]
    if proto.trainer_spec.model_type != UNIGRAM:
        raise UserError("the sentencepiece model is no unigram model; only those can be written for Hugging Face.")
    processor = SentencePieceProcessor(model_proto=content)
    scores = {piece.piece: piece.score for piece in proto.pieces}
    pieces = [(token, scores.get(token, 0.0)) for token in tokenizer.tokens]
    unknown = tokenizer.special.unk if tokenizer.special.unk is not None else processor.unk_id()
    backend = Backend(models.Unigram(pieces, unk_id=unknown, byte_fallback=False))
    spec = proto.normalizer_spec
    steps: list[Any] = [normalizers.Precompiled(spec.precompiled_charsmap)] if spec.precompiled_charsmap else []
    if spec.remove_extra_whitespaces:
        steps += [normalizers.Strip(), normalizers.Replace(Regex(" {2,}"), " ")]
    backend.normalizer = normalizers.Sequence(steps)
    scheme = "always" if spec.add_dummy_prefix else "never"
    backend.pre_tokenizer = pre_tokenizers.Metaspace(replacement=WORD_MARK, prepend_scheme=scheme)
    backend.decoder = decoders.Metaspace(replacement=WORD_MARK, prepend_scheme=scheme)
    return backend


def _byte_pairs(tokenizer: Tokenizer) -> Any:
    """GPT-2's byte-level pairs."""
    from tokenizers import Tokenizer as Backend
    from tokenizers import decoders, models, pre_tokenizers

    ids = tokenizer.vocabulary.ids
    lines = tokenizer.files["merges_path"].decode().split("\n")
    pairs = [tuple(line.split(" ")) for line in lines if line and not line.startswith("#version")]
    merges = [(left, right) for left, right in pairs if {left, right, left + right} <= ids.keys()]
    backend = Backend(models.BPE(vocab=ids, merges=merges, unk_token=tokenizer.special_tokens.unk))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return backend


def _characters(tokenizer: Tokenizer) -> Any:
    """One token a character of the stripped text."""
    from tokenizers import Regex, decoders, pre_tokenizers

    backend = _lookup(tokenizer)
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    backend.decoder = decoders.Fuse()
    return backend


def _words(tokenizer: Tokenizer) -> Any:
    """The fields of the stripped text between spaces."""
    from tokenizers import pre_tokenizers

    backend = _lookup(tokenizer)
    backend.pre_tokenizer = pre_tokenizers.Split(" ", "removed")
    return backend


def _lookup(tokenizer: Tokenizer) -> Any:
    from tokenizers import Tokenizer as Backend
    from tokenizers import models, normalizers

    backend = Backend(models.WordLevel(tokenizer.vocabulary.ids, unk_token=tokenizer.special_tokens.unk))
    backend.normalizer = normalizers.Strip()
    return backend
