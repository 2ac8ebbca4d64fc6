"""Reading rows, encoding them, batching them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch

from uer_ds.config.finetune import ClassifierOptions, NerOptions
from uer_ds.data.batch import IGNORE
from uer_ds.errors import UserError
from uer_ds.finetune.encode import Encoder
from uer_ds.finetune.examples import MULTIPLE, Example, ExampleSet, two_streams
from uer_ds.finetune.examples import flat as flat_batch
from uer_ds.finetune.rows import columns_of, read_rows
from uer_ds.finetune.task import Classes, Reading
from uer_ds.finetune.tasks import classifier, ner
from uer_ds.tokenizers import Tokenizer, load_tokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    path = tmp_path_factory.mktemp("vocabulary") / "vocab.txt"
    path.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"天地人书好坏不我"]) + "\n", "utf-8")
    return load_tokenizer("char", path)


@pytest.fixture
def words(tokenizer: Tokenizer) -> Reading:
    return Reading(Encoder(load_tokenizer("space", tokenizer.vocabulary.source), 8), NerOptions())


@pytest.fixture
def encoder(tokenizer: Tokenizer) -> Encoder:
    return Encoder(tokenizer, 8)


def test_columns_are_found_by_name_and_lines_end_anyhow(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_bytes('\ufefftext_a\tmore\tlabel\r\n天地\tx\t1\r\n\n好 坏\u2028\t"y\t0'.encode())
    rows = list(read_rows(path, ["label", "text_a"]))
    assert [(row.number, row.text("text_a"), row.text("label")) for row in rows] == [
        (2, "天地", "1"),
        (3, "", ""),
        (4, "好 坏\u2028", "0"),
    ]
    assert rows[2].text("more") == '"y' and rows[0].text("absent") == ""
    assert [row.empty for row in rows] == [False, True, False]
    assert columns_of(path) == ("text_a", "more", "label")


def test_every_format_gives_the_same_rows(tmp_path: Path) -> None:
    records = [{"label": "1", "text_a": "天地"}, {"label": "0", "text_a": "人"}]
    (tmp_path / "a.tsv").write_text("label\ttext_a\n1\t天地\n0\t人\n", "utf-8")
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(records), tmp_path / "a.parquet")
    found = [
        [dict(row.values) for row in read_rows(tmp_path / f"a.{kind}", ["label"])]
        for kind in ("tsv", "jsonl", "parquet")
    ]
    assert found[0] == found[1] == found[2] == records


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.tsv", "text\tlabel\nx\t1\n", "no column text_a; found text, label"),
        ("a.tsv", "", "no column label, text_a; found nothing"),
        ("a.tsv", "label\ttext_a\n1\tx\n1\n", "line 3 has 1 columns; expected 2"),
        ("a.jsonl", '{"label": 1}\n', "line 1 has no column text_a; found label"),
        ("a.jsonl", "{", "line 1 is not JSON"),
        ("a.jsonl", "[1]\n", "line 1 is a JSON list"),
        ("a.parquet", "nonsense", "no Parquet file"),
    ],
)
def test_malformed_files_are_refused(tmp_path: Path, name: str, content: str, words: str) -> None:
    (tmp_path / name).write_text(content, "utf-8")
    with pytest.raises(UserError, match=words):
        list(read_rows(tmp_path / name, ["label", "text_a"]))


def test_other_encodings_and_missing_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_bytes("label\ttext_a\n1\t天地\n".encode("gb18030"))
    with pytest.raises(UserError, match="iconv -f GB18030"):
        list(read_rows(tmp_path / "a.tsv", ["label"]))
    with pytest.raises(UserError, match="No such file"):
        list(read_rows(tmp_path / "b.tsv", ["label"]))


def test_rows_are_cut_at_the_right_end_and_counted(encoder: Encoder) -> None:
    a, b = encoder.ids(["天地人", "好坏不我书书"])
    assert encoder.single(a).ids.tolist() == [2, 5, 6, 7, 3] and encoder.cut == 0
    pair = encoder.pair(a, b)
    assert pair.ids.tolist() == [2, 5, 6, 7, 3, 9, 10, 11] and pair.segments().tolist() == [1] * 5 + [2] * 3
    long = encoder.pair(np.concatenate([a, b, b]), a)
    assert len(long) == 8 and set(long.segments().tolist()) == {1}
    assert encoder.cut == 2


def test_batches_pad_and_labels_stand_where_the_tokens_are(words: Reading, tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("text_a\tlabel\n天 地 人\tB-X I-X O\n好\tO\n", "utf-8")
    examples = list(ner.read(tmp_path / "a.tsv", words))
    labels = ner.find_labels(examples, NerOptions(), False)
    assert labels.names == ("B-X", "I-X", "O", "[PAD]")
    found = ExampleSet(examples, lambda e: ner.values(e, labels, NerOptions()), flat_batch, 0, ner.TASK.by_token)
    batch = found.batch(np.zeros(2, dtype=np.int64), np.array([1, 0]))
    assert batch.ids.shape == (2, MULTIPLE) and batch.ids[1, :4].tolist() == [5, 6, 7, 0]
    assert batch.segments.sum().item() == 4
    assert batch.labels["tags"][0, :2].tolist() == [2, IGNORE] and batch.labels["tags"][1, :4].tolist() == [
        0,
        1,
        2,
        IGNORE,
    ]
    assert batch.label_counts() == {"tags": 4}


def test_two_streams_are_padded_apart(encoder: Encoder, tmp_path: Path) -> None:
    a, b = (encoder.single(ids) for ids in encoder.ids(["天", "好坏不我书书书"]))
    batch = two_streams([Example((a, b))], 0)
    assert batch.second is not None and torch.equal(batch.segments.sum(1), torch.tensor([3]))
    assert batch.second.segments.sum().item() == 8


def test_labels_of_a_classifier(encoder: Encoder, tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("label\ttext_a\ttext_b\n1\t天\t地\n0\t人\t好\n", "utf-8")
    examples = list(classifier.read(path, Reading(encoder, ClassifierOptions())))
    labels = classifier.find_labels(examples, ClassifierOptions(), False)
    assert [classifier.values(e, labels, ClassifierOptions())["cls"] for e in examples] == [1, 0]
    assert examples[0].rows[0].segments().tolist() == [1, 1, 1, 2, 2]
    names = [("0", "line 2"), ("good", "line 3"), ("bad", "line 4")]
    with pytest.raises(
        UserError, match="line 3: label 'good'; the training data has the labels 0, bad, good, expected"
    ):
        classifier.labels_from(names, False)
    assert classifier.labels_from(names, True).number("good") == 2
    with pytest.raises(UserError, match="line 2: label '1' does not occur in the training data, which has 0"):
        classifier.values(examples[0], Classes(("0",)), ClassifierOptions())


def test_soft_targets_are_read_and_checked(encoder: Encoder, tmp_path: Path) -> None:
    options, path = ClassifierOptions(soft_targets=True), tmp_path / "a.tsv"
    path.write_text("label\ttext_a\tlogits\n0\t天\t0.5 -1\n1\t地\t1\n1\t地\ta b\n", "utf-8")
    good, short, words = classifier.read(path, Reading(encoder, options))
    labels = Classes(("0", "1"))
    assert classifier.values(good, labels, options)["soft"].tolist() == [0.5, -1.0]
    for line, bad in ((3, short), (4, words)):
        with pytest.raises(UserError, match=f"line {line}: logits is .*; expected 2 numbers"):
            classifier.values(bad, labels, options)
    path.write_text("label\ttext_a\n0\t天\n", "utf-8")
    [dev] = classifier.read(path, Reading(encoder, options, part="dev"))  # only training needs the column
    assert classifier.values(dev, labels, options) == {"cls": 0}
    with pytest.raises(UserError, match="has no column logits"):
        list(classifier.read(path, Reading(encoder, options)))


def test_tags_and_tokens_must_be_equally_many(words: Reading, tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("text_a\tlabel\n天 地\tO O\n天 地\tO\n", "utf-8")
    with pytest.raises(UserError, match="line 3 has 2 tokens and 1 tags"):
        list(ner.read(tmp_path / "a.tsv", words))
    (tmp_path / "a.tsv").write_text("text_a\tlabel\n 天  地 \tO O \n", "utf-8")  # more blanks than needed
    assert [len(example) for example in ner.read(tmp_path / "a.tsv", words)] == [2]


def test_lists_in_json_are_texts(words: Reading, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    record = {"text_a": ["天", "地"], "label": ["O", "B-X"], "logits": [0.5, -1], "empty": []}
    path.write_text(json.dumps(record) + "\n", "utf-8")
    [row] = read_rows(path, ["text_a"])
    assert [row.text(name) for name in record] == ["天 地", "O B-X", "0.5 -1", ""]
    assert row.text("label", ",") == "O,B-X"
    [example] = ner.read(path, words)
    assert example.rows[0].ids.tolist() == [5, 6] and example.gold[0] == ["O", "B-X"]


def test_empty_rows_are_left_out_and_counted_but_answered(encoder: Encoder, tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("label\ttext_a\n1\t天\n\n0\t \n0\t地\n", "utf-8")
    training = Reading(encoder, ClassifierOptions())
    assert [e.gold.where[-1] for e in classifier.read(path, training)] == ["2", "5"]
    assert dict(training.noticed) == {"empty rows were left out": 2}
    answering = Reading(encoder, ClassifierOptions(), gold=False, part="predict")
    assert [len(e) for e in classifier.read(path, answering)] == [3, 2, 2, 3] and not answering.noticed


def test_padding_never_exceeds_the_rows_limit(tokenizer: Tokenizer) -> None:
    rows = [Encoder(tokenizer, 10).single(np.arange(n, dtype=np.int32)) for n in (1, 7)]
    assert flat_batch([Example((row,)) for row in rows], 0).ids.shape == (2, 10)
    assert flat_batch([Example((rows[0],))], 0).ids.shape == (1, MULTIPLE)
