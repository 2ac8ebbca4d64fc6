"""Several processes and ranks: the same bytes for any number of them, and every failure is the command's failure."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from uer_ds.data.dataset import open_dataset
from uer_ds.data.shards import BuildSpec, Silent, build_dataset
from uer_ds.data.workers import WorkerDied
from uer_ds.errors import UserError
from uer_ds.tokenizers import load_tokenizer, write_vocabulary
from uer_ds.tokenizers.vocabulary import RESERVED

ROOT = Path(__file__).resolve().parents[2]
TEXT = "".join(f"第{i}行有{'很多' * (i % 5)}字\n" for i in range(200))


@pytest.fixture(autouse=True)
def _workers_for_little_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("uer_ds.data.shards.WORKER_BYTES", 1)


def vocabulary(folder: Path) -> str:
    write_vocabulary([*RESERVED, *"第行有很多字0123456789"], folder / "vocab.txt")
    return str(folder / "vocab.txt")


def spec(folder: Path, text: str | bytes, output: str = "out", **options: Any) -> BuildSpec:
    (folder / "corpus.txt").write_bytes(text.encode() if isinstance(text, str) else text)
    tokenizer = load_tokenizer("char", vocab_path=vocabulary(folder))
    return BuildSpec(corpus=(str(folder / "corpus.txt"),), output=folder / output, tokenizer=tokenizer, **options)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("shard-*")}


def test_processes_give_the_same_bytes(tmp_path: Path) -> None:
    class Counter(Silent):
        children = 0

        def advance(self, count: int) -> None:
            self.children = max(self.children, len(multiprocessing.active_children()))

    counter = Counter()
    build_dataset(spec(tmp_path, TEXT, "one", shards=4))
    build_dataset(spec(tmp_path, TEXT, "two", shards=4, processes=2), counter)
    assert counter.children == 2
    assert len(files(tmp_path / "one")) == 8
    assert files(tmp_path / "one") == files(tmp_path / "two")


def test_failure_of_a_worker_is_the_failure_of_the_build(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"corpus\.txt is not UTF-8: .*line 201\) is 0xff"):
        build_dataset(spec(tmp_path, TEXT.encode() + b"\xff\n", shards=2, processes=2))
    assert not (tmp_path / "out").exists()
    assert multiprocessing.active_children() == []


def test_killed_worker(tmp_path: Path) -> None:
    class Killer(Silent):
        def advance(self, count: int) -> None:
            for child in multiprocessing.active_children()[:1]:
                assert child.pid
                os.kill(child.pid, signal.SIGKILL)

    with pytest.raises(WorkerDied, match=r"status -9 before its shard was done"):
        build_dataset(spec(tmp_path, TEXT, shards=2, processes=2), Killer())
    assert multiprocessing.active_children() == []
    build_dataset(spec(tmp_path, TEXT, shards=2))
    assert open_dataset(tmp_path / "out").documents == 200


def mpi(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    mpirun = shutil.which("mpirun", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    pytest.importorskip("mpi4py")
    if mpirun is None:
        pytest.skip("no mpirun")
    command = [
        mpirun,
        "--allow-run-as-root",
        "--oversubscribe",
        "-np",
        "2",
        sys.executable,
        "-m",
        "uer_ds",
        "preprocess",
    ]
    paths = ["--mpi", "--tokenizer", "char", "--vocab_path", vocabulary(folder), "--data_processor", "mlm"]
    output = ["--corpus_path", str(folder / "corpus.txt"), "--dataset_path", str(folder / "out")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [*command, *paths, *output, *options], env=environment, capture_output=True, text=True, timeout=120
    )


def test_mpi_ranks_give_the_same_bytes(tmp_path: Path) -> None:
    build_dataset(spec(tmp_path, TEXT, "one", shards=3))
    done = mpi(tmp_path, "--shards", "3")
    assert done.returncode == 0, done.stderr
    assert files(tmp_path / "out") == files(tmp_path / "one")
    assert open_dataset(tmp_path / "out").manifest.shards == open_dataset(tmp_path / "one").manifest.shards


def test_mpi_rank_that_fails(tmp_path: Path) -> None:
    (tmp_path / "corpus.txt").write_bytes(TEXT.encode() + b"\xff\n")
    done = mpi(tmp_path, "--shards", "2")
    assert done.returncode == 2
    assert done.stderr.count("is not UTF-8: byte") == 1
    assert not (tmp_path / "out").exists()
