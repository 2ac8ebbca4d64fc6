"""Memory does not grow with the corpus: 2 GB of text by two processes. Half a minute of work."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bench.process_tree import run_measured
from uer_ds.data.dataset import open_dataset
from uer_ds.tokenizers import write_vocabulary
from uer_ds.tokenizers.vocabulary import RESERVED

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.long
def test_two_gigabytes(tmp_path: Path) -> None:
    write_vocabulary([*RESERVED, *"今天气很好，。"], tmp_path / "vocab.txt")
    text = ("今天天气很好，今天很好。\n" * 9 + "\n").encode() * 4000
    copies = 2 * 10**9 // len(text)
    with open(tmp_path / "corpus.txt", "wb") as file:
        for _ in range(copies):
            file.write(text)
    options = ["--corpus_path", str(tmp_path / "corpus.txt"), "--vocab_path", str(tmp_path / "vocab.txt")]
    more = ["--dataset_path", str(tmp_path / "out"), "--processes_num", "2", "--data_processor", "bert"]
    usage = run_measured([sys.executable, "-m", "uer_ds", "preprocess", *options, *more], {"PYTHONPATH": str(ROOT)})
    assert len(usage.peaks) >= 3  # the command, the server of its workers, a worker
    assert max(usage.peaks.values()) < 500
    assert open_dataset(tmp_path / "out").documents == 4000 * copies
