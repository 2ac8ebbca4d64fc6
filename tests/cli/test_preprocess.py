"""`uer-ds preprocess` and `uer-ds vocab`: UER-py's options, old spellings, what is said, and how mistakes end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from uer_ds.cli.main import main
from uer_ds.cli.pretrain import complete
from uer_ds.cli.progress import data_size
from uer_ds.data.dataset import open_dataset
from uer_ds.data.manifest import Manifest
from uer_ds.errors import UserError
from uer_ds.tokenizers import write_vocabulary
from uer_ds.tokenizers.vocabulary import RESERVED

DOCUMENTS = "今天很好。我们走吧！\n明天不好。\n"
SENTENCES = "今天很好。\n我们走吧！\n\n明天不好。\n"
CHARACTERS = "今天很好我们走吧明不。！"


def arguments(folder: Path, text: str, *options: str) -> list[str]:
    (folder / "corpus.txt").write_text(text)
    write_vocabulary([*RESERVED, *CHARACTERS, "<extra_id_0>"], folder / "vocab.txt")
    paths = ["--corpus_path", str(folder / "corpus.txt"), "--dataset_path", str(folder / "dataset.pt")]
    return ["preprocess", *paths, "--tokenizer", "char", "--vocab_path", str(folder / "vocab.txt"), *options]


def preprocess(folder: Path, text: str, *options: str) -> Manifest:
    assert main(arguments(folder, text, *options)) == 0
    return open_dataset(folder / "dataset.pt").manifest


@pytest.mark.parametrize(
    ("processor", "text", "layout", "counts"),
    [
        ("mlm", DOCUMENTS, "documents", (2, 2)),
        ("t5", DOCUMENTS, "documents", (2, 2)),
        ("bert", SENTENCES, "sentences", (2, 3)),
        ("albert", DOCUMENTS, "sentences", (2, 3)),
        ("mt", "今\t天\n", "pairs", (1, 2)),
        ("prefixlm", "今\t天\n", "pairs", (1, 2)),
        ("cls", "1\t今\n0\t天\t好\n", "labelled", (2, 3)),
    ],
)
def test_layout_of_each_processor(
    tmp_path: Path, processor: str, text: str, layout: str, counts: tuple[int, int]
) -> None:
    manifest = preprocess(tmp_path, text, "--data_processor", processor)
    assert (manifest.layout, (manifest.documents, manifest.items)) == (layout, counts)
    assert manifest.sampling["data_processor"] == processor


def test_sentence_splitter_can_be_forced_and_forbidden(tmp_path: Path) -> None:
    for name, choice, documents in (("a", "yes", 3), ("b", "no", 1)):
        (tmp_path / name).mkdir()
        text = SENTENCES if choice == "yes" else DOCUMENTS
        assert preprocess(tmp_path / name, text, "--split_sentences", choice).documents == documents


def test_uers_command_line_of_old(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = preprocess(
        tmp_path,
        "今\t天\n",
        "--target",
        "seq2seq",
        "--dup_factor",
        "5",
        "--docs_buffer_size",
        "10",
        "--seq_length",
        "64",
    )
    assert manifest.layout == "pairs"
    assert manifest.sampling == {"data_processor": "mt", "seq_length": 64, "tgt_seq_length": 128, "dup_factor": 5}
    shown = capsys.readouterr()
    assert "preprocess: read as --data_processor mt" in shown.err
    assert "--docs_buffer_size has no effect: documents are read" in shown.err
    assert "documents  1" in shown.out


def test_masking_options_become_defaults_of_training(tmp_path: Path) -> None:
    manifest = preprocess(tmp_path, DOCUMENTS, "--data_processor", "mlm", "--span_masking", "--span_max_length", "5")
    assert manifest.sampling["span_masking"] is True
    assert manifest.sampling["span_max_length"] == 5
    assert manifest.columns == ()


def test_instructions(tmp_path: Path) -> None:
    text = json.dumps({"instruction": "今", "input": "天", "output": "好"})
    manifest = preprocess(tmp_path, text, "--data_processor", "llm_sft", "--corpus_format", "jsonl")
    assert (manifest.layout, manifest.tokens) == ("pairs", 3)


def test_target_vocabulary(tmp_path: Path) -> None:
    write_vocabulary([*RESERVED, "x"], tmp_path / "target.txt")
    target = ("--tgt_tokenizer", "char", "--tgt_vocab_path", str(tmp_path / "target.txt"))
    manifest = preprocess(tmp_path, "今\tx\n", "--data_processor", "mt", *target)
    assert manifest.target_tokenizer is not None
    assert manifest.target_tokenizer.vocab_size == len(RESERVED) + 1


def test_a_target_vocabulary_where_there_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = ("--tgt_tokenizer", "char", "--tgt_vocab_path")
    same = preprocess(tmp_path, DOCUMENTS, "--data_processor", "mlm", *target, str(tmp_path / "vocab.txt"))
    assert same.target_tokenizer is None
    write_vocabulary([*RESERVED, "x"], tmp_path / "target.txt")
    given = arguments(tmp_path, "今\t天\n", "--data_processor", "prefixlm", *target, str(tmp_path / "target.txt"))
    assert main(given) == 2
    assert "names another vocabulary than the source's, but prefixlm has one" in capsys.readouterr().err


def test_training_compares_the_target_vocabulary_too(tmp_path: Path) -> None:
    folders = []
    for word in "xyx":
        folder = tmp_path / f"data{len(folders)}"
        folder.mkdir()
        write_vocabulary([*RESERVED, word], folder / "target.txt")
        target = ("--tgt_tokenizer", "char", "--tgt_vocab_path", str(folder / "target.txt"))
        preprocess(folder, f"今\t{word}\n", "--data_processor", "mt", *target)
        folders.append(str(folder / "dataset.pt"))
    alike = {"dataset_path": (folders[0], folders[2])}
    complete(dict(alike), {}, ({}, {"tokenizer": "char", "vocab_path": str(tmp_path / "data2" / "target.txt")}))
    with pytest.raises(UserError, match=r"data1/dataset.pt was made with another target vocabulary than .*data0"):
        complete({"dataset_path": tuple(folders[:2])}, {}, ({}, {}))
    with pytest.raises(UserError, match=r"another vocabulary than .*data1/target.txt"):
        complete(dict(alike), {}, ({}, {"tokenizer": "char", "vocab_path": str(tmp_path / "data1" / "target.txt")}))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--data_processor", "mlmm"], "did you mean 'mlm'"),
        (["--processes_num", "0"], "--processes_num is 0; expected 1 or more"),
        (["--corpus_path", "nowhere.txt"], "nowhere.txt does not exist"),
        (["--vocab_path", "nowhere.txt"], "nowhere.txt"),
        (["--corpus_formt", "txt"], "did you mean --corpus_format"),
    ],
)
def test_mistakes_end_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    given = arguments(tmp_path, DOCUMENTS)
    if options[0] in given:
        given[given.index(options[0]) + 1] = options.pop()
        options.pop()
    assert main([*given, *options]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line]
    assert len(lines) == 1 and message in lines[0]
    assert not (tmp_path / "dataset.pt").exists()


def test_missing_corpus_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["preprocess"]) == 2
    assert "--corpus_path is missing" in capsys.readouterr().err


@pytest.mark.parametrize(("delimiter", "words"), [("char", ["今", "天", "x"]), ("space", ["天", "今", "x"])])
def test_vocabulary(tmp_path: Path, delimiter: str, words: list[Any]) -> None:
    (tmp_path / "corpus.txt").write_text("今天 今\n天 天 x" if delimiter == "space" else "今今今天天x")
    options = ["--corpus_path", str(tmp_path / "corpus.txt"), "--output_path", str(tmp_path / "vocab.txt")]
    assert main(["vocab", *options, "--delimiter", delimiter]) == 0
    tokens = (tmp_path / "vocab.txt").read_text().splitlines()
    assert tokens[: len(RESERVED)] == list(RESERVED)
    assert set(words) <= set(tokens)


def test_a_vocabulary_with_sentinels_is_not_replaced_unasked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "corpus.txt").write_text("今今天")
    path = str(tmp_path / "vocab.txt")
    options = ["vocab", "--corpus_path", str(tmp_path / "corpus.txt"), "--output_path", path]
    assert main([*options, "--sentinels_num", "3"]) == 0
    assert capsys.readouterr().out == (
        f"{path}: 109 tokens: 104 reserved ([PAD], [unused1] .. [unused99], [UNK], [CLS], [SEP], [MASK]), 2 from the"
        " text, 3 sentinels (<extra_id_0> .. <extra_id_2>)\n"
    )
    before = Path(path).read_text()
    assert before.splitlines()[104:] == ["今", "天", "<extra_id_0>", "<extra_id_1>", "<extra_id_2>"]
    assert main(options) == 2
    assert "vocab.txt exists already" in capsys.readouterr().err and Path(path).read_text() == before
    assert main([*options, "--force"]) == 0 and Path(path).read_text() != before
    (tmp_path / "corpus.txt").write_bytes("今天".encode("gbk"))
    assert main([*options, "--force"]) == 2
    assert "is not UTF-8: byte 0 is 0xbd; convert the file first, e.g. with `iconv" in capsys.readouterr().err


def test_a_finished_dataset_takes_new_defaults_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    preprocess(tmp_path, DOCUMENTS)
    capsys.readouterr()
    preprocess(tmp_path, DOCUMENTS)
    assert "is finished already; nothing to do." in capsys.readouterr().err
    manifest = preprocess(tmp_path, DOCUMENTS, "--seq_length", "64", "--span_masking")
    assert manifest.sampling["seq_length"] == 64
    shown = capsys.readouterr().err
    assert "new defaults for training: seq_length 128 -> 64, span_masking unsaid -> True." in shown


@pytest.mark.parametrize(
    ("count", "words"), [(14, "14 bytes"), (2500, "2.5 kB"), (10**7, "10.0 MB"), (10**10, "10.0 GB")]
)
def test_sizes_have_the_unit_that_suits_them(count: int, words: str) -> None:
    assert data_size(count) == words


def test_vocabulary_needs_its_paths(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["vocab", "--corpus_path", "x"]) == 2
    assert "--output_path is missing" in capsys.readouterr().err
