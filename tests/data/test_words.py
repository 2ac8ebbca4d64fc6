"""Word bounds beside the ids of each kind of tokenizer, in Chinese and English; what cannot be placed is counted."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import sentencepiece

from uer_ds.cli.main import main
from uer_ds.data.dataset import open_dataset
from uer_ds.data.words import WordFinder
from uer_ds.tokenizers import load_tokenizer, write_vocabulary
from uer_ds.tokenizers.base import Tokenizer
from uer_ds.tokenizers.bpe import byte_symbols
from uer_ds.tokenizers.vocabulary import RESERVED

CHINESE = "今天|天气|很好|，|我们|去|公园"
ENGLISH = "Today| |the| |weather| |was| |unusually| |nice|."
MIXED = "我们|说| |Ｈello|，|café| |是|公园"


def shown(tokenizer: Tokenizer, text: str) -> tuple[str, int]:
    """Tokens with a bar before each that begins a word; `text` has its own bars. And how many were not placed."""
    finder = WordFinder(tokenizer, lambda plain: text.split("|"))
    ids, offsets = tokenizer.encode_batch([text.replace("|", "")])
    starts = finder.starts([text.replace("|", "")], ids, offsets)
    tokens = [tokenizer.tokens[i] for i in ids]
    words = "".join(("|" if begins else "") + token for token, begins in zip(tokens, starts, strict=True))
    return words, finder.unplaced


@pytest.fixture(scope="module")
def pieces(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """A sentencepiece model with pieces inside words, and one (天气很) that reaches into the next."""
    lines = ["今天天气很好，我们去公园", "today the weather was unusually nice."] * 30
    content = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=content,
        vocab_size=90,
        hard_vocab_limit=False,
        user_defined_symbols=["今天", "天气很", "我们", "un", "usual", "公园"],
        minloglevel=3,
    )
    path = tmp_path_factory.mktemp("spm") / "spm.model"
    path.write_bytes(content.getvalue())
    names = path.with_name("names.json")
    names.write_text('{"unk_token": "<unk>", "cls_token": "<s>", "sep_token": "</s>"}')
    return load_tokenizer("bert", spm_model_path=path, special_tokens_map_path=names)


@pytest.fixture(scope="module")
def byte_pairs(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("bpe")
    merges = ["Ġ t", "h e", "Ġt he", "Ġ w", "Ġw e", "n i", "ni c", "nic e", "ä »", "ä» Ĭ"]
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n", encoding="utf-8")
    write_vocabulary([*RESERVED, *byte_symbols(), *(m.replace(" ", "") for m in merges)], folder / "vocab.txt")
    return load_tokenizer("bpe", vocab_path=folder / "vocab.txt", merges_path=folder / "merges.txt")


def word_piece(folder: Path, *tokens: str) -> Tokenizer:
    write_vocabulary([*RESERVED, *tokens], folder / "vocab.txt")
    return load_tokenizer("bert", vocab_path=folder / "vocab.txt")


def test_sentencepiece(pieces: Tokenizer) -> None:
    words, unplaced = shown(pieces, CHINESE)
    assert words.replace("|▁", "▁", 1).endswith("今天|天气很好|,|我们|去|公园") and unplaced == 0  # 好 goes with 很
    words, unplaced = shown(pieces, ENGLISH.lower())
    assert [word.replace("▁", "") for word in words.split("|")[1:]] == ENGLISH.lower().replace("| ", "").split("|")
    assert unplaced == 0


def test_byte_pairs(byte_pairs: Tokenizer) -> None:
    words, unplaced = shown(byte_pairs, ENGLISH)
    assert words == "|Today|Ġthe|Ġweather|Ġwas|Ġunusually|Ġnice|." and unplaced == 0
    symbols = byte_symbols()
    words, unplaced = shown(byte_pairs, CHINESE)
    assert words == "".join("|" + "".join(symbols[b] for b in word.encode()) for word in CHINESE.split("|"))
    assert unplaced == 0


def test_word_pieces(tmp_path: Path) -> None:
    tokenizer = word_piece(tmp_path, *"我们说是公园，hc", "##e", "##ll", "##o", "##af")
    words, unplaced = shown(tokenizer, MIXED)
    assert words == "|我们|说|[UNK]|，|c##af##e|是|公园" and unplaced == 0  # a full-width H stays one here
    words, unplaced = shown(tokenizer, "Ｈello|caf|é|公园|我们")  # the text is one word where the segmenter sees two
    assert words.endswith("|公园|我们")


def test_unknown_words_spoil_nothing_but_themselves(tmp_path: Path) -> None:
    tokenizer = word_piece(tmp_path, *"我们公园说")
    assert shown(tokenizer, "我们|xyz| |abc|公园|说") == ("|我们|[UNK]|[UNK]|公园|说", 1)
    assert shown(tokenizer, "我们|高兴|公园|说") == ("|我们|[UNK][UNK]|公园|说", 0)


def test_words_that_are_not_the_text(tmp_path: Path) -> None:
    tokenizer = word_piece(tmp_path, *"我们公", "##园")
    finder = WordFinder(tokenizer, lambda text: ["我们"])
    assert finder.starts(["我们公"], *tokenizer.encode_batch(["我们公"])).all()
    assert finder.unplaced == 3


def test_the_count_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("rjieba")
    word_piece(tmp_path, *"我们去公园")
    (tmp_path / "corpus.txt").write_text("我们去公园\nabc xyz 我们\n", encoding="utf-8")
    paths = ["--corpus_path", str(tmp_path / "corpus.txt"), "--dataset_path", str(tmp_path / "out")]
    options = ["--vocab_path", str(tmp_path / "vocab.txt"), "--data_processor", "mlm", "--whole_word_masking"]
    assert main(["preprocess", *paths, *options]) == 0
    assert open_dataset(tmp_path / "out").manifest.totals["unplaced_tokens"] == 1
    assert "tokens without word bounds  1" in capsys.readouterr().out
