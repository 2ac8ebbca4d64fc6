"""Memory does not grow with the corpus, whatever its form: each case is a whole command whose peak is measured."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from itertools import repeat
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from uer_ds.data.dataset import open_dataset
from uer_ds.tokenizers import write_vocabulary
from uer_ds.tokenizers.vocabulary import RESERVED

ROOT = Path(__file__).resolve().parents[2]
SENTENCE = "今天天气很好，今天很好。"
LIMIT = 500
"""Megabytes of the largest process."""


MEASURE = """
import json, sys
from bench.process_tree import run_measured
print(json.dumps(list(run_measured(sys.argv[1:]).peaks.values())))
"""


def preprocess(folder: Path, corpus: Path, *options: str) -> list[float]:
    """Peaks of all processes in MB; measured from a process of its own, which becomes the parent of all orphans."""
    write_vocabulary([*RESERVED, *"今天气很好，。"], folder / "vocab.txt")
    paths = ["--corpus_path", str(corpus), "--vocab_path", str(folder / "vocab.txt")]
    more = ["--dataset_path", str(folder / "out"), *options]
    command = [sys.executable, "-m", "uer_ds", "preprocess", *paths, *more]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *command], env=environment, stdout=subprocess.PIPE, check=True
    )
    peaks: list[float] = json.loads(done.stdout)
    return peaks


def repeated_zst(folder: Path) -> Path:
    """200 MB of text in 20 kB."""
    path = folder / "corpus.txt.zst"
    with pyarrow.CompressedOutputStream(str(path), "zstd") as file:
        for _ in range(200):
            file.write((SENTENCE * 3 + "\n").encode() * (10**6 // len((SENTENCE * 3 + "\n").encode())))
    assert path.stat().st_size < 100_000
    return path


def long_rows(folder: Path) -> Path:
    """100 MB in 250 rows of one row group, in pages of a row."""
    text = SENTENCE * (400_000 // len(SENTENCE.encode()))
    table = pyarrow.table({"text": [f"{text}{i}" for i in range(250)]})
    pages = {"use_dictionary": False, "data_page_size": 1 << 10, "write_batch_size": 1}
    pyarrow.parquet.write_table(table, folder / "c.parquet", **pages)
    return folder / "c.parquet"


def long_page(folder: Path) -> Path:
    """30 MB in 75 rows of one page, the least that can be decoded."""
    text = SENTENCE * (400_000 // len(SENTENCE.encode()))
    pyarrow.parquet.write_table(pyarrow.table({"text": [f"{text}{i}" for i in range(75)]}), folder / "c.parquet")
    return folder / "c.parquet"


def equal_rows(folder: Path) -> Path:
    """200 MB in 500 rows that the file holds once."""
    text = SENTENCE * (400_000 // len(SENTENCE.encode()))
    pyarrow.parquet.write_table(pyarrow.table({"text": [text] * 500}), folder / "c.parquet")
    assert (folder / "c.parquet").stat().st_size < 10**6
    return folder / "c.parquet"


def one_line(folder: Path) -> Path:
    """The longest line that is taken."""
    (folder / "c.txt").write_text(SENTENCE * ((16 << 20) // len(SENTENCE.encode())) + "\n", encoding="utf-8")
    return folder / "c.txt"


@pytest.mark.parametrize("make", [repeated_zst, long_rows, long_page, equal_rows, one_line])
def test_any_form_of_text(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    peaks = preprocess(tmp_path, make(tmp_path), "--data_processor", "mlm")
    assert max(peaks) < LIMIT
    assert open_dataset(tmp_path / "out").tokens > 5 * 10**6


@pytest.mark.long
def test_two_gigabytes(tmp_path: Path) -> None:
    text = ("今天天气很好，今天很好。\n" * 9 + "\n").encode() * 4000
    copies = 2 * 10**9 // len(text)
    with open(tmp_path / "corpus.txt", "wb") as file:
        file.writelines(repeat(text, copies))
    peaks = preprocess(tmp_path, tmp_path / "corpus.txt", "--processes_num", "2", "--data_processor", "bert")
    assert len(peaks) >= 3  # the command, the server of its workers, a worker
    assert max(peaks) < LIMIT
    assert open_dataset(tmp_path / "out").documents == 4000 * copies
