"""Prediction files: what each ending holds, and what UER-py writes under any other."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest

from uer_ds.finetune.encode import Encoded
from uer_ds.finetune.examples import Example, flat
from uer_ds.finetune.output import prediction_file
from uer_ds.finetune.predict import predict
from uer_ds.finetune.rows import count_rows
from uer_ds.finetune.task import Wanted
from uer_ds.registry import TASKS

RECORDS: list[tuple[Any, ...]] = [("a\tb", [0.25, -1.0]), ("c\nd", [1e-07, 3.0])]


def written(path: Path, records: list[tuple[Any, ...]], columns: tuple[str, ...], **more: Any) -> str:
    with prediction_file(path, columns, **more) as writer:
        writer.write(records)
    assert [found.name for found in path.parent.iterdir()] == [path.name]
    return "" if path.suffix == ".parquet" else path.read_text(encoding="utf-8")


def test_every_ending_holds_the_same(tmp_path: Path) -> None:
    columns = ("label", "prob")
    assert written(tmp_path / "tsv" / "a.tsv", RECORDS, columns) == "label\tprob\na b\t0.25 -1.0\nc d\t1e-07 3.0\n"
    for name in ("a.jsonl", "a.json"):
        lines = written(tmp_path / name / name, RECORDS, columns).splitlines()
        assert [tuple(json.loads(line).values()) for line in lines] == RECORDS
    written(tmp_path / "parquet" / "a.parquet", RECORDS, columns)
    table = pyarrow.parquet.read_table(tmp_path / "parquet" / "a.parquet")
    assert table.column_names == list(columns) and [tuple(row.values()) for row in table.to_pylist()] == RECORDS


@pytest.mark.parametrize(
    ("task", "records", "name", "expected"),
    [
        ("cmrc", [("Q1", "x")], "a.json", {"Q1": "x"}),
        ("cmrc", [("Q1", "x")], "a", {"Q1": "x"}),
        ("chid", [("#idiom000001#", 3)], "a.txt", {"#idiom000001#": 3}),
        ("c3", [("1-2", 1)], "a.json", {"id": "1-2", "label": 1}),
        ("c3", [("1-2", 1)], "a.txt", {"id": "1-2", "label": 1}),
        ("cmrc", [("Q1", "x")], "a.tsv", "id\tanswer\nQ1\tx\n"),
        ("classifier", [("1",)], "a.txt", "label\n1\n"),
    ],
)
def test_what_uer_py_writes(tmp_path: Path, task: str, records: Any, name: str, expected: Any) -> None:
    of = TASKS[task]
    text = written(tmp_path / name, records, of.columns(Wanted()), document=of.document, json_lines=of.json_lines)
    assert (text if isinstance(expected, str) else json.loads(text)) == expected


def test_rows_are_counted_without_reading_them(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("label\n1\n0\n")
    (tmp_path / "a.jsonl").write_text("{}\n{}\n{}\n")
    (tmp_path / "a.json").write_text("{}\n")
    pyarrow.parquet.write_table(pyarrow.table({"a": [1, 2, 3, 4]}), tmp_path / "a.parquet")
    assert [count_rows(tmp_path / f"a.{kind}") for kind in ("tsv", "jsonl", "parquet", "json", "no")] == [
        2,
        3,
        4,
        None,
        None,
    ]


def test_progress_counts_every_example_once() -> None:
    row = Encoded(np.array([2, 5, 3], dtype=np.int32), 3, 8)
    alone: Any = SimpleNamespace(place=SimpleNamespace(world_size=1, rank=0), gather=lambda part: [part])
    done: list[int] = []
    found = predict(lambda batch: batch.ids[:, :1], [Example((row,))] * 7, flat, 0, 3, alone, done.append)
    assert done == [3, 3, 1] and found is not None and len(found) == 7
