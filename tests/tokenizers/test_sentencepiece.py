"""Sentencepiece models: ids of bert and xlmroberta over a model, the rule of digit and comma, decoding."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece

from uer_ds.errors import UserError
from uer_ds.tokenizers import load_saved_tokenizer, load_tokenizer

LINES = [f"今天天气很好，我们去公园{i}次 hello world number {i * 7}" for i in range(60)]
DIGIT_COMMAS = ["\u25022,", "\u2581x3,"]


def train(path: Path, **options: Any) -> Path:
    content = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES),
        model_writer=content,
        vocab_size=120,
        hard_vocab_limit=False,
        user_defined_symbols=[*DIGIT_COMMAS, ","],
        minloglevel=3,
        **options,
    )
    path.write_bytes(content.getvalue())
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Named as UER's Chinese models are."""
    folder = tmp_path_factory.mktemp("spm")
    names = {"pad_piece": "[PAD]", "unk_piece": "[UNK]", "bos_piece": "[CLS]", "eos_piece": "[SEP]"}
    return train(folder / "bert.model", pad_id=0, unk_id=1, bos_id=2, eos_id=3, **names)


@pytest.fixture(scope="module")
def fairseq_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Named as XLM-RoBERTa's is."""
    return train(tmp_path_factory.mktemp("spm") / "xlmr.model")


def test_bert_ids_are_the_models(model: Path) -> None:
    tokenizer = load_tokenizer("bert", spm_model_path=model)
    library = sentencepiece.SentencePieceProcessor(model_file=str(model))
    ids, offsets = tokenizer.encode_batch([*LINES, "", "龘 never seen"])
    for line, begin, end in zip([*LINES, "", "龘 never seen"], offsets[:-1], offsets[1:], strict=True):
        assert ids[begin:end].tolist() == library.encode(line)
    assert tokenizer.special.unk == 1 and 1 in tokenizer.encode("龘")
    assert tokenizer.special.cls == 2 and tokenizer.special.mask is None
    assert tokenizer.tokens[2] == "[CLS]" and tokenizer.vocab_size == len(library)


@pytest.mark.parametrize("kind", ["bert", "xlmroberta"])
def test_digit_and_comma(model: Path, kind: str) -> None:
    """UER-py encodes such a piece again without the comma, and keeps the word mark that this adds."""
    tokenizer = load_tokenizer(kind, spm_model_path=model)
    pieces = [tokenizer.tokens[i] for i in tokenizer.encode("天\u25022,天")]
    assert pieces[-2:] == [",", "天"] and "\u2581" in pieces[2:] and DIGIT_COMMAS[0] not in pieces
    again = tokenizer.encode("\u25022").tolist()
    assert tokenizer.encode("天\u25022,天").tolist()[-len(again) - 2 : -2] == again
    assert "," in [tokenizer.tokens[i] for i in tokenizer.encode("x3,")]


def test_xlmroberta_ids_are_fairseqs(fairseq_model: Path) -> None:
    tokenizer = load_tokenizer("xlmroberta", spm_model_path=fairseq_model)
    assert tokenizer.tokens[:4] == ["<s>", "<pad>", "</s>", "<unk>"] and tokenizer.tokens[-1] == "<mask>"
    assert (tokenizer.special.pad, tokenizer.special.unk, tokenizer.special.mask) == (1, 3, tokenizer.vocab_size - 1)
    library = sentencepiece.SentencePieceProcessor(model_file=str(fairseq_model))
    pieces = library.encode(LINES[3], out_type=str)
    assert [tokenizer.tokens[i] for i in tokenizer.encode(LINES[3])] == pieces
    assert 3 in tokenizer.encode("龘")


def test_unknown_pieces_follow_the_map_of_special_tokens(fairseq_model: Path, tmp_path: Path) -> None:
    names = tmp_path / "map.json"
    names.write_text('{"unk_token": "<pad>", "pad_token": "<pad>"}')
    tokenizer = load_tokenizer("xlmroberta", spm_model_path=fairseq_model, special_tokens_map_path=names)
    assert tokenizer.encode("龘").tolist()[-1] == 1


def test_decoding(model: Path) -> None:
    tokenizer = load_tokenizer("bert", spm_model_path=model)
    ids = tokenizer.encode("hello world").tolist()
    assert tokenizer.decode([2, *ids, 3]) == "[CLS]hello world[SEP]"


@pytest.mark.parametrize("kind", ["bert", "xlmroberta", "char"])
def test_saved_and_pickled(model: Path, tmp_path: Path, kind: str) -> None:
    tokenizer = load_tokenizer(kind, spm_model_path=model)
    ids = tokenizer.encode(LINES[0]).tolist()
    loaded = load_saved_tokenizer(tmp_path, tokenizer.save(tmp_path))
    for other in (loaded, pickle.loads(pickle.dumps(tokenizer))):
        assert other.fingerprint == tokenizer.fingerprint and other.encode(LINES[0]).tolist() == ids
    assert (tmp_path / "spm.model").read_bytes() == model.read_bytes()


def test_surrogates_newlines_and_lines(model: Path) -> None:
    tokenizer = load_tokenizer("bert", spm_model_path=model)
    assert 1 in tokenizer.encode("今天\ud800")
    whole, _ = tokenizer.encode_batch(["今天", "hello"])
    lines, offsets = tokenizer.encode_lines(np.frombuffer("今天\r\nhello".encode(), dtype=np.uint8))
    assert lines.tolist() == whole.tolist() and len(offsets) == 3


def test_char_and_space_over_a_model(model: Path) -> None:
    """Unknown characters get the model's unknown id."""
    char = load_tokenizer("char", spm_model_path=model)
    assert [char.tokens[i] for i in char.encode("天龘")] == ["天", "[UNK]"]
    space = load_tokenizer("space", spm_model_path=model)
    assert [space.tokens[i] for i in space.encode("天 hello 天")] == ["天", "[UNK]", "天"]


def test_files_that_are_no_model(model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="xlmroberta tokenizer needs this file"):
        load_tokenizer("xlmroberta", vocab_path="vocab.txt")
    for content in (b"no model", model.read_bytes()[:5000]):
        path = tmp_path / "bad.model"
        path.write_bytes(content)
        with pytest.raises(UserError, match=f"bad.model: no sentencepiece model .{len(content)} bytes"):
            load_tokenizer("bert", spm_model_path=path)
