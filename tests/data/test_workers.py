"""Several processes and ranks: the same bytes for any number of them, and every failure is the command's failure."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from uer_ds.cli.progress import data_size
from uer_ds.data.dataset import open_dataset
from uer_ds.data.manifest import ShardRecord
from uer_ds.data.rows import Tokenizers
from uer_ds.data.shard_writer import ShardTask
from uer_ds.data.shards import BuildSpec, Silent, build_dataset
from uer_ds.data.workers import Helpers, WorkerDied
from uer_ds.errors import INTERRUPTED, UserError
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


def on_start(monkeypatch: pytest.MonkeyPatch, act: Callable[[list[multiprocessing.process.BaseProcess]], None]) -> None:
    """Have `act` called with the helpers of every build as soon as they are started."""
    start = Helpers.start

    def start_and_act(helpers: Helpers) -> None:
        start(helpers)
        act(multiprocessing.active_children())

    monkeypatch.setattr(Helpers, "start", start_and_act)


def test_processes_give_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Counter(Silent):
        read = 0

        def advance(self, count: int) -> None:
            self.read += count

    counter = Counter()
    started: list[int] = []
    on_start(monkeypatch, lambda children: started.append(len(children)))
    build_dataset(spec(tmp_path, TEXT, "one", shards=4))
    build_dataset(spec(tmp_path, TEXT, "two", shards=4, processes=3), counter)
    assert counter.read == len(TEXT.encode())
    assert started == [2]  # and the process itself
    assert len(files(tmp_path / "one")) == 8
    assert files(tmp_path / "one") == files(tmp_path / "two")


def test_failure_of_a_helper_is_the_failure_of_the_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wait_for_the_helper(task: ShardTask, tokenizers: Tokenizers, advance: Callable[[int], None]) -> ShardRecord:
        while True:
            advance(0)
            time.sleep(0.05)

    monkeypatch.setattr("uer_ds.data.workers.write_shard", wait_for_the_helper)
    with pytest.raises(UserError, match=r"corpus\.txt is not UTF-8: .*line 201\) is 0xff"):
        build_dataset(spec(tmp_path, TEXT.encode() + b"\xff\n", shards=2, processes=2))
    assert not (tmp_path / "out").exists()
    assert multiprocessing.active_children() == []


def test_killed_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def kill(children: list[multiprocessing.process.BaseProcess]) -> None:
        [child] = children
        assert child.pid
        os.kill(child.pid, signal.SIGKILL)

    with monkeypatch.context() as patched, pytest.raises(WorkerDied, match=r"status -9 before its shard was done"):
        on_start(patched, kill)
        build_dataset(spec(tmp_path, TEXT, shards=2, processes=2))
    assert multiprocessing.active_children() == []
    build_dataset(spec(tmp_path, TEXT, shards=2))
    assert open_dataset(tmp_path / "out").documents == 200


ENDED = """
import multiprocessing, os, signal, sys, time
from pathlib import Path
from uer_ds.cli.main import main
from uer_ds.data import shards, workers

def end(task, tokenizers, advance):
    print(*[child.pid for child in multiprocessing.active_children()], flush=True)
    os.kill(os.getpid(), signal.Signals[sys.argv[2]])
    time.sleep(60)

def work(task, tokenizers, advance):
    while True:
        advance(0)
        time.sleep(0.05)

workers.write_shard = work
if __name__ == "__main__":
    workers.write_shard, shards.WORKER_BYTES = end, 1
    folder = Path(sys.argv[1])
    paths = ["--corpus_path", str(folder / "corpus.txt"), "--dataset_path", str(folder / "out")]
    tokenizer = ["--tokenizer", "char", "--vocab_path", str(folder / "vocab.txt"), "--data_processor", "mlm"]
    sys.exit(main(["preprocess", *paths, *tokenizer, "--processes_num", "2"]))
"""


@pytest.mark.parametrize(
    ("ending", "status", "words"),
    [("SIGKILL", -signal.SIGKILL, ""), ("SIGTERM", INTERRUPTED, "uer-ds: interrupted\n")],
)
def test_helpers_do_not_outlive_the_build_and_leave_quietly(
    tmp_path: Path, ending: str, status: int, words: str
) -> None:
    vocabulary(tmp_path)
    (tmp_path / "corpus.txt").write_text(TEXT)
    (tmp_path / "build.py").write_text(ENDED)
    command = [sys.executable, str(tmp_path / "build.py"), str(tmp_path), ending]
    with open(tmp_path / "shown", "wb") as shown, open(tmp_path / "said", "wb") as said:
        done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=shown, stderr=said)
    assert done.returncode == status, (tmp_path / "said").read_text()
    [helper] = map(int, (tmp_path / "shown").read_text().split())
    deadline = time.monotonic() + 120  # seconds; on a machine that swaps they pass
    while Path(f"/proc/{helper}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{helper}").exists()
    time.sleep(0.5)  # for the last words of what watched over it
    assert (tmp_path / "said").read_text() == words
    assert (tmp_path / "out").exists() == (ending == "SIGKILL")


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
    assert f"read       {data_size(len(TEXT.encode()))} of text" in done.stdout  # by both ranks together
    assert open_dataset(tmp_path / "out").manifest.shards == open_dataset(tmp_path / "one").manifest.shards


def test_mpi_rank_that_fails(tmp_path: Path) -> None:
    (tmp_path / "corpus.txt").write_bytes(TEXT.encode() + b"\xff\n")
    done = mpi(tmp_path, "--shards", "2")
    assert done.returncode == 2
    assert done.stderr.count("is not UTF-8: byte") == 1
    assert not (tmp_path / "out").exists()
