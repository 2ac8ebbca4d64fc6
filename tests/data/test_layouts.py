"""Every format and layout: text with columns, JSON lines, Parquet, compressed files; what is malformed is counted and
shown."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from tests.data.stand_in import StandIn
from tests.data.test_shards import Notes, contents, ids
from uer_ds.data.dataset import Dataset, open_dataset
from uer_ds.data.shards import BuildSpec, build_dataset
from uer_ds.data.words import WordFinder
from uer_ds.errors import UserError

TOKENIZER = StandIn()
PAIRS = "今天\ttoday\n\n只有一列\n明天\ttomorrow\r\na\tb\tc\n空\t\u200b\n昨天\tyesterday"
LABELLED = "1\t很好\n0\t不好\t真的不好\nx\t坏行\n-1\t负数\n\n2\t一般"
RECORDS = [{"text": "一。二！"}, {"other": "三"}, ["四"], {"text": "五\n六"}, {"text": " "}]


def build(path: Path, text: str | bytes, name: str = "corpus.txt", progress: Any = None, **options: Any) -> Dataset:
    (path / name).write_bytes(text.encode() if isinstance(text, str) else text)
    spec = BuildSpec(corpus=(str(path / name),), output=path / "out", tokenizer=TOKENIZER, **options)
    build_dataset(spec, progress)
    return open_dataset(path / "out")


def lines(records: list[Any]) -> str:
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def test_pairs(tmp_path: Path) -> None:
    progress = Notes()
    dataset = build(tmp_path, PAIRS, rule="pair", progress=progress)
    expected = [["今天", "today"], ["明天", "tomorrow"], ["昨天", "yesterday"]]
    assert contents(dataset) == [[ids(a), ids(b)] for a, b in expected]
    assert dataset.manifest.layout == "pairs"
    totals = dataset.manifest.totals
    assert (totals["empty_documents"], totals["malformed_lines"]) == (2, 2)
    assert progress.notes[:2] == [
        f"left out: {tmp_path}/corpus.txt, line 3: 1 tab-separated column, expected 2 (source, target)",
        f"left out: {tmp_path}/corpus.txt, line 5: 3 tab-separated columns, expected 2 (source, target)",
    ]


def test_pairs_with_two_vocabularies(tmp_path: Path) -> None:
    target = StandIn(40000)
    dataset = build(tmp_path, "今天\ttoday\n明天好\tx\n", rule="pair", target_tokenizer=target)
    assert contents(dataset) == [
        [ids("今天"), target.encode("today").tolist()],
        [ids("明天好"), target.encode("x").tolist()],
    ]
    assert dataset.manifest.dtype == "uint16"
    assert dataset.manifest.target_tokenizer is not None
    assert dataset.manifest.target_tokenizer.vocab_size == 40000


@pytest.mark.parametrize(
    ("rule", "line", "reason"),
    [
        ("pair", "\ta\tb", "3 tab-separated columns, expected 2 (source, target)"),
        ("pair", "\tb", "the source is empty"),
        ("pair", "a\t ", "the target is empty"),
        ("label", "\t1\t好", "the label is empty"),
        ("label", "1\t", "the text is empty"),
        ("label", "1\t好\t", "the second text is empty"),
    ],
)
def test_an_empty_column_is_malformed(tmp_path: Path, rule: str, line: str, reason: str) -> None:
    progress = Notes()
    dataset = build(tmp_path, f"{line}\r\n1\t二\n", rule=rule, progress=progress)
    assert dataset.documents == 1 and progress.notes == [f"left out: {tmp_path}/corpus.txt, line 1: {reason}"]
    (tmp_path / "strict").mkdir()
    with pytest.raises(UserError, match=r"line 1: .*mend it"):
        build(tmp_path / "strict", f"{line}\n", rule=rule, strict=True)


@pytest.mark.parametrize("shards", [1, 3])
def test_labelled(tmp_path: Path, shards: int) -> None:
    dataset = build(tmp_path, LABELLED, rule="label", shards=shards)
    assert contents(dataset) == [[ids("很好")], [ids("不好"), ids("真的不好")], [ids("一般")]]
    assert [int(dataset.column("label", d)) for d in range(3)] == [1, 0, 2]
    assert dataset.manifest.totals["malformed_lines"] == 2
    with pytest.raises(UserError, match="has no column 'other'"):
        dataset.column("other", 0)


def test_strict_names_the_line_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"line 3: label 'x', expected an integer from 0; mend it"):
        build(tmp_path, LABELLED, rule="label", strict=True)
    assert not (tmp_path / "out").exists()


def test_at_most_ten_malformed_lines_are_shown(tmp_path: Path) -> None:
    progress = Notes()
    dataset = build(tmp_path, "坏\n" * 50 + "a\tb\n", rule="pair", shards=3, progress=progress)
    assert dataset.manifest.totals["malformed_lines"] == 50
    assert [note.split(":")[1].split()[-1] for note in progress.notes] == [str(n) for n in range(1, 11)]


def test_nothing_but_malformed_lines(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"corpus\.txt: none of 1 lines can be used; .*line 1: 1 tab-separated column, expected 2"
    ):
        build(tmp_path, "没有制表符\n", rule="pair")


def test_json_lines(tmp_path: Path) -> None:
    dataset = build(tmp_path, lines(RECORDS) + "{没有引号}\n", "corpus.jsonl")
    assert contents(dataset) == [[ids("一。二！")], [ids("五六")]]
    totals = dataset.manifest.totals
    assert (totals["empty_documents"], totals["malformed_lines"]) == (1, 3)


@pytest.mark.parametrize("part", [1, 7, 1 << 22])
@pytest.mark.parametrize("indent", [None, 1])
def test_a_json_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, indent: int | None, part: int) -> None:
    monkeypatch.setattr("uer_ds.data.unpack.PART_BYTES", part)
    text = "\ufeff" + json.dumps([*RECORDS, 5], ensure_ascii=False, indent=indent)
    progress = Notes()
    dataset = build(tmp_path, text, "corpus.json", shards=2, progress=progress)
    assert contents(dataset) == [[ids("一。二！")], [ids("五六")]]
    assert dataset.manifest.totals["malformed_lines"] == 3
    last = text.count("\n")  # the line before the closing bracket, of the file in one line the first
    assert progress.notes[-1] == f"left out: {tmp_path}/corpus.json, line {max(last, 1)}: no JSON object"


def test_a_json_file_may_have_one_object_a_line_and_be_packed(tmp_path: Path) -> None:
    for name, text in (("lines", lines(RECORDS[:1])), ("list", json.dumps(RECORDS[:1]))):
        (tmp_path / name).mkdir()
        assert contents(build(tmp_path / name, gzip.compress(text.encode()), "corpus.json.gz")) == [[ids("一。二！")]]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[{"text": "一"},\n{"text": "二"', r"the list ends in the middle, expected an element at byte \d+ \(line 2\)"),
        ('[{"text": "一"}\n', r"expected a comma or \]"),
        ('[{"text": "一"}\n{"text": "二"}]', r"found '\{', expected , or \] at byte 17 \(line 2\)"),
        ('[{"text": "一"}]\n[', r"found '\[', expected nothing more"),
        (b'[{"text": "\xff"}]', r"is not UTF-8: byte 11 \(line 1\) is 0xff"),
        (b'[{"text": "\xe4', r"is not UTF-8: byte 11 \(line 1\) is 0xe4"),
    ],
)
def test_a_damaged_json_list_is_refused(tmp_path: Path, text: str | bytes, words: str) -> None:
    with pytest.raises(UserError, match=words):
        build(tmp_path, text, "corpus.json")


def test_a_list_named_as_lines_is_explained(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"line 1: no JSON .*must be named \.json"):
        build(tmp_path, json.dumps(RECORDS, indent=1), "corpus.jsonl")


@pytest.mark.parametrize("rule", ["split", "blank_line"])
def test_records_are_split_into_sentences(tmp_path: Path, rule: str) -> None:
    dataset = build(tmp_path, lines(RECORDS), "corpus.jsonl", rule=rule)
    assert contents(dataset) == [[ids("一。"), ids("二！")], [ids("五"), ids("六")]]
    assert dataset.manifest.preparation == "one document a record (text), split into sentences"


def test_instructions(tmp_path: Path) -> None:
    records = [{"instruction": "写诗", "input": "春", "output": "春眠\\n不觉晓"}, {"source": "甲", "target": "乙"}]
    dataset = build(tmp_path, lines(records), "corpus.jsonl", rule="pair")
    assert contents(dataset) == [[ids("写诗春"), ids("春眠不觉晓")], [ids("甲"), ids("乙")]]


def test_labelled_records(tmp_path: Path) -> None:
    records = [{"label": 1, "text_a": "甲", "text_b": "乙"}, {"label": "2", "text": "丙"}, {"text": "丁"}]
    dataset = build(tmp_path, lines(records), "corpus.jsonl", rule="label")
    assert contents(dataset) == [[ids("甲"), ids("乙")], [ids("丙")]]
    assert dataset.shard_columns("label")[0].tolist() == [1, 2]


def test_lines_split_into_sentences(tmp_path: Path) -> None:
    dataset = build(tmp_path, "一。二！\n\n三\n \n", rule="split")
    assert contents(dataset) == [[ids("一。"), ids("二！")], [ids("三")]]
    assert dataset.manifest.totals["empty_documents"] == 2


def zst(data: bytes) -> bytes:
    """Two frames, as `cat` makes them."""
    frames = (pyarrow.compress(part, "zstd", asbytes=True) for part in (data[:2], data[2:]))
    return b"".join(frames)


@pytest.mark.parametrize("ending", ["gz", "zst"])
def test_compressed_text_and_its_bad_bytes(tmp_path: Path, ending: str) -> None:
    pack = gzip.compress if ending == "gz" else zst
    assert contents(build(tmp_path, pack("一\n二".encode()), f"corpus.txt.{ending}", shards=2)) == [
        [ids("一")],
        [ids("二")],
    ]
    (tmp_path / "bad").mkdir()
    with pytest.raises(UserError, match=r"byte 4 \(line 2\) is 0xff"):
        build(tmp_path / "bad", pack(b"abc\n\xff\n"), f"corpus.txt.{ending}")
    with pytest.raises(UserError, match="is damaged: "):
        build(tmp_path / "bad", pack(b"abc\n" * 1000)[:-6], f"corpus.txt.{ending}")


@pytest.mark.parametrize("shards", [1, 2, 5])
@pytest.mark.parametrize("packed", [False, True])
def test_parquet(tmp_path: Path, shards: int, packed: bool) -> None:
    texts = [*(f"第{i}行" for i in range(10)), None, ""]
    pyarrow.parquet.write_table(pyarrow.table({"text": texts, "url": ["x"] * 12}), tmp_path / "plain", row_group_size=4)
    data = (tmp_path / "plain").read_bytes()
    progress = Notes()
    name = "corpus.parquet.gz" if packed else "corpus.parquet"
    dataset = build(tmp_path, gzip.compress(data) if packed else data, name, shards=shards, progress=progress)
    assert contents(dataset) == [[ids(text)] for text in texts[:10]]
    assert dataset.manifest.totals["empty_documents"] == 1
    assert progress.notes == [f"left out: {tmp_path}/{name}, row 11: no text under 'text' (it has: )"]


def test_parquet_without_a_text_column(tmp_path: Path) -> None:
    pyarrow.parquet.write_table(pyarrow.table({"url": ["x"]}), tmp_path / "plain")
    with pytest.raises(UserError, match=r"has the columns url; expected some of: text"):
        build(tmp_path, (tmp_path / "plain").read_bytes(), "corpus.parquet")
    with pytest.raises(UserError, match=r"is no Parquet file"):
        build(tmp_path, "text", "corpus.parquet")


@pytest.mark.parametrize("begin", [4, 3000])
def test_a_damaged_page_of_parquet_is_named(tmp_path: Path, begin: int) -> None:
    table = pyarrow.table({"text": [f"第{i}行很长的文字" for i in range(5000)]})
    pyarrow.parquet.write_table(table, tmp_path / "plain", use_dictionary=False)
    data = bytearray((tmp_path / "plain").read_bytes())
    data[begin : begin + 50] = b"\xff" * 50
    with pytest.raises(UserError, match=r"corpus\.parquet, row group 0, cannot be read \(.*copy it again"):
        build(tmp_path, bytes(data), "corpus.parquet")
    assert not (tmp_path / "out").exists()


def test_word_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("uer_ds.data.words.load_segmenter", lambda: lambda text: text.split("|"))
    dataset = build(tmp_path, "今天|天气|很|好\n  \n明天\n", word_starts=True, shards=2)
    found = np.concatenate(dataset.shard_columns("word_start")).tolist()
    # the bars are tokens too and in no word, so each token of the first text is a word of its own
    assert found == [True] * 9 + [True, False]


def test_word_starts_follow_the_words() -> None:
    words = WordFinder(TOKENIZER, lambda text: [text[:2], text[2:3], text[3:]])
    texts = ["今天 好吗", "一二三"]
    assert words.starts(texts, *TOKENIZER.encode_batch(texts)).tolist() == [1, 0, 1, 0, 1, 0, 1]


def test_a_real_segmenter_finds_words_and_leaves_the_ids_alone(tmp_path: Path) -> None:
    pytest.importorskip("rjieba")
    text = "中华人民共和国今天的天气很好。\n"
    (tmp_path / "plain").mkdir()
    dataset, plain = build(tmp_path, text, word_starts=True), build(tmp_path / "plain", text)
    assert contents(dataset) == contents(plain)
    [starts] = dataset.shard_columns("word_start")
    words = "".join(("|" if begins else "") + character for begins, character in zip(starts, text, strict=False))
    assert words.startswith("|中华人民共和国|今天|的|天气|")
