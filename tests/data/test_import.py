"""UER-py's dataset.pt, as its processors write it, comes back as documents; and no code of the file is run."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.data.stand_in import StandIn
from tests.data.test_shards import contents
from uer_ds.cli.main import main
from uer_ds.data.dataset import Dataset, open_dataset
from uer_ds.data.indexed import IndexedDatasetWriter
from uer_ds.data.pair_import import import_pair
from uer_ds.data.uer_import import import_dataset
from uer_ds.errors import UserError
from uer_ds.tokenizers import write_vocabulary
from uer_ds.tokenizers.vocabulary import RESERVED

CLS, SEP, MASK = 2, 3, 4
TOKENIZER = StandIn()


def bring(folder: Path, processor: str, instances: list[Any] | bytes, **options: Any) -> Dataset:
    data = instances if isinstance(instances, bytes) else b"".join(map(pickle.dumps, instances))
    (folder / "dataset.pt").write_bytes(data)
    import_dataset(folder / "dataset.pt", folder / "out", processor, TOKENIZER, lambda count: None, **options)
    return open_dataset(folder / "out")


def test_masked_pieces_of_lines(tmp_path: Path) -> None:
    # a line of nine tokens in two pieces, then one of two; each twice with other masks, as --dup_factor 2 does
    first = [
        (([CLS, 10, MASK, 12, 13, 14], 0), [(2, 11)], [6]),
        (([15, 77, 17, 18, SEP], 1), [(1, 16)], [5]),
        (([CLS, 20, 21, SEP], 2), [], [4]),
    ]
    second = [
        (([CLS, 10, 11, 12, 13, 14], 0), [(2, 11)], [6]),
        (([15, 16, 17, MASK, SEP], 1), [(3, 18)], [5]),
        (([CLS, MASK, 21, SEP], 2), [(1, 20)], [4]),
    ]
    dataset = bring(tmp_path, "mlm", first + second)
    assert contents(dataset) == [[list(range(10, 19))], [[20, 21]]]
    assert dataset.manifest.sampling == {"data_processor": "mlm"}


def test_dynamic_pieces_and_a_line_that_is_cut_off(tmp_path: Path) -> None:
    dataset = bring(tmp_path, "lm", [(([CLS, 10, 11], 0), [2]), (([12, SEP], 1), [2]), (([CLS, 13, 14], 0), [2])])
    assert contents(dataset) == [[[10, 11, 12]], [[13, 14]]]


def test_next_sentence_pairs(tmp_path: Path) -> None:
    row = [CLS, 10, MASK, SEP, 12, 13, SEP]
    dataset = bring(tmp_path, "bert", [((row, 3), [(2, 11)], 0, [4, 7]), ((row, 3), [(2, 14)], 1, [4, 7])])
    assert contents(dataset) == [[[10, 11], [12, 13]], [[10, 14]]]
    assert dataset.manifest.layout == "sentences"


def test_swapped_sentences(tmp_path: Path) -> None:
    row = [CLS, 10, 11, SEP, 12, SEP]
    dataset = bring(tmp_path, "albert", [((row, 0), 1, [4, 6]), (([CLS, 20, SEP, SEP], 0), 0, [3, 4])])
    assert contents(dataset) == [[[12], [10, 11]], [[20]]]


def test_parallel_text(tmp_path: Path) -> None:
    dataset = bring(tmp_path, "mt", [(([CLS, 10, SEP], 5), ([CLS, 20, 21, SEP], 0), [3])])
    assert contents(dataset) == [[[10], [20, 21]]]


def test_prefixes(tmp_path: Path) -> None:
    dataset = bring(tmp_path, "prefixlm", [(([CLS, 10, 11, SEP, 12, SEP], 1), [0, 0, 0, 12, SEP, 0], [4, 6])])
    assert contents(dataset) == [[[10, 11], [12]]]


@pytest.mark.parametrize("processor", ["cls", "cls_mlm"])
def test_labels(tmp_path: Path, processor: str) -> None:
    instances: list[Any] = [(([CLS, 10, 11], 0), 1, [3]), (([CLS, 10, SEP, 12, SEP], 0), 4, [3, 2])]
    if processor == "cls_mlm":
        instances[0] = (([CLS, MASK, 11], 0), [(1, 10)], 1, [3])
    dataset = bring(tmp_path, processor, instances)
    assert contents(dataset) == [[[10, 11]], [[10], [12]]]
    assert dataset.shard_columns("label")[0].tolist() == [1, 4]


class Hostile:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return exec, ("raise SystemExit('code was run')",)


@pytest.mark.parametrize(
    ("instances", "message"),
    [
        ([(([CLS, 10, SEP], 0), [3]), (Hostile(), [3])], r"instance 2: the file wants to build a builtins\.exec"),
        (pickle.dumps((([CLS, 10, SEP], 0), [3]))[:-3], r"instance 1: no pickled tuple at byte 0"),
        (b"PK\x03\x04 a zip file", r"instance 1: no pickled tuple at byte 0"),
        ([{"a": 1}], r"instance 1 is no tuple"),
        ([("text", [3])], r"after 0 documents: an instance of another form \(expected a list of ids\)"),
        ([(([CLS, 40000, SEP], 0), [3])], r"id 40000, but the vocabulary has 30000 entries"),
        ([(([CLS, SEP], 0), [2])], r"holds no instance with text"),
    ],
)
def test_files_that_are_none(tmp_path: Path, instances: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        bring(tmp_path, "mlm", instances)
    assert [path.name for path in tmp_path.iterdir()] == ["dataset.pt"]


@pytest.mark.parametrize(
    ("processor", "message"),
    [("bart", "a bart dataset cannot be brought over: .* where sentences end"), ("mlmm", "did you mean 'mlm'")],
)
def test_processors_without_a_way_back(tmp_path: Path, processor: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        bring(tmp_path, processor, [])


def foreign(prefix: Path, documents: list[list[list[int]]], dtype: str = "int32") -> Path:
    with IndexedDatasetWriter(prefix, np.dtype(dtype)) as writer:
        for document in documents:
            for item in document:
                writer.add_item(item)
            writer.end_document()
    return prefix


DOCUMENTS = [[[10, 11, 12]], [[13]], [[29999, 14]]]
SENTENCES = [[[10, 11], [12]], [[13], [14, 15]]]


def bring_pair(folder: Path, documents: list[list[list[int]]], processor: str, monkeypatch: Any) -> Dataset:
    monkeypatch.setattr("uer_ds.data.combine.CHUNK_DOCUMENTS", 2)
    prefix = foreign(folder / "foreign", documents)
    done: list[int] = []
    import_pair(prefix, folder / "out", processor, TOKENIZER, done.append)
    assert sum(done) == (folder / "foreign.bin").stat().st_size
    return open_dataset(folder / "out")


@pytest.mark.parametrize(
    ("documents", "processor", "layout"),
    [
        (DOCUMENTS, "lm", "documents"),
        (SENTENCES, "bert", "sentences"),
        (SENTENCES, "mlm", "sentences"),
        (SENTENCES, "mt", "pairs"),
    ],
)
def test_a_pair_of_megatron(tmp_path: Path, monkeypatch: Any, documents: Any, processor: str, layout: str) -> None:
    dataset = bring_pair(tmp_path, documents, processor, monkeypatch)
    assert contents(dataset) == documents and dataset.manifest.layout == layout
    assert dataset.manifest.dtype == "int16" and dataset.manifest.sampling == {"data_processor": processor}


@pytest.mark.parametrize(
    ("documents", "processor", "message"),
    [
        (DOCUMENTS, "bert", r"3 items in 3 documents \(1 to 1 in each\); the bert objective reads sentences"),
        (SENTENCES, "cls", "the cls objective reads labelled"),
        ([[[30000]]], "lm", r"foreign\.bin has ids outside the vocabulary of 30000 entries"),
        ([], "lm", "has no item"),
    ],
)
def test_a_pair_that_does_not_fit(
    tmp_path: Path, monkeypatch: Any, documents: Any, processor: str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        bring_pair(tmp_path, documents, processor, monkeypatch)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["foreign.bin", "foreign.idx"]


def test_a_pair_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_vocabulary([*RESERVED, *"今天好"], tmp_path / "vocab.txt")
    prefix = foreign(tmp_path / "foreign", [[[104, 105]], [[106]]])
    assert main(["dataset", "info", str(prefix)]) == 2
    assert f"uer-ds dataset import {prefix} --output_path" in capsys.readouterr().err
    options = ["--tokenizer", "char", "--vocab_path", str(tmp_path / "vocab.txt"), "--data_processor", "lm"]
    for number, given in enumerate((prefix, f"{prefix}.idx")):
        output = str(tmp_path / f"out{number}")
        assert main(["dataset", "import", str(given), "--output_path", output, *options]) == 0
        assert main(["dataset", "verify", output]) == 0
        assert main(["dataset", "sample", output]) == 0
    assert "[CLS] 今 天 [SEP]" in capsys.readouterr().out
