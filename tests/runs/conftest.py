"""What the tests that launch processes share: a small dataset, a small model, and a way to start commands."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from uer_ds.config.resources import find_json
from uer_ds.launch.address import free_port
from uer_ds.storage.files import read_json_object

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent

TINY_MODEL = {
    "emb_size": 32,
    "hidden_size": 32,
    "feedforward_size": 64,
    "heads_num": 2,
    "layers_num": 2,
    "max_seq_length": 64,
    "embedding": ["word", "pos", "seg"],
    "target": ["mlm"],
    "data_processor": "mlm",
    "tie_weights": True,
}

GRACE = 20.0
"""Seconds that the others have to notice that one has failed, which they do by themselves."""

Run = Callable[..., subprocess.CompletedProcess[str]]


def start(*command: str | Path, expect: int = 0, timeout: float = 180, **variables: str) -> Any:
    """Run a command in the clone's root to its end. `expect` is its exit status."""
    words = [str(word) for word in command]
    environ = _environment(variables)
    done = subprocess.run(words, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=timeout)
    return _ended(done, expect)


def start_together(
    processes: int, script: str, *words: str | Path, expect: int = 0, timeout: float = 180, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a script in several processes of one group, told apart by the variables that launchers set.

    That saves the seconds of a launcher; `test_launchers.py` starts processes by each of them. `expect` is the exit
    status of the first process that ends with another than 0, and 0 only where none does.
    """
    command = [sys.executable, script, *map(str, words)]
    shared = {"WORLD_SIZE": str(processes), "LOCAL_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1"}
    shared["MASTER_PORT"] = str(free_port())
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        started: list[subprocess.Popen[bytes]] = []
        try:
            for rank in map(str, range(processes)):
                environ = _environment({**shared, "RANK": rank, "LOCAL_RANK": rank, **variables})
                started.append(subprocess.Popen(command, cwd=ROOT, env=environ, stdout=out, stderr=err))
            status = _status_of_all(started, timeout)
        finally:
            for process in started:
                process.kill()
                process.wait()
        said = [file.seek(0) or file.read() for file in (out, err)]
    return _ended(subprocess.CompletedProcess(command, status, *said), expect)


def _status_of_all(processes: list[subprocess.Popen[bytes]], timeout: float) -> int:
    """0 when all end so, else the first other status, after which the rest get some seconds; 124 when time is over."""
    end, first = time.monotonic() + timeout, 0
    while any(process.poll() is None for process in processes) and time.monotonic() < end:
        if not first and (first := next((p.returncode for p in processes if p.poll()), 0)):
            end = min(end, time.monotonic() + GRACE)
        time.sleep(0.02)
    return first or next((124 if p.returncode is None else p.returncode for p in processes if p.poll() != 0), 0)


def _environment(variables: dict[str, str]) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "PATH": f"{BIN}:{os.environ['PATH']}", **variables}


def _ended(done: subprocess.CompletedProcess[str], expect: int) -> subprocess.CompletedProcess[str]:
    assert done.returncode == expect, f"{' '.join(done.args)}\n{done.stdout[-6000:]}\n{done.stderr[-6000:]}"
    return done


def two_by_deepspeed(*words: str | Path) -> list[str | Path]:
    """DeepSpeed's launcher for two processes, which meet at a port of their own."""
    return ["deepspeed", "--num_accelerators", "2", "--master_port", str(free_port()), *words]


@pytest.fixture(scope="session")
def run() -> Run:
    """`start`."""
    return start


@pytest.fixture(scope="session")
def run_together() -> Run:
    """`start_together`."""
    return start_together


@pytest.fixture(scope="session")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of `make_material`."""
    return make_material(tmp_path_factory.mktemp("material"))


def make_material(folder: Path) -> Path:
    """Put text, vocabulary, dataset, held-out dataset and `model.json` into `folder`, made by the commands."""
    write_text(folder / "text.txt", 900, seed=1)
    write_text(folder / "held_out.txt", 60, seed=2)
    command = [sys.executable, "-m", "uer_ds"]
    vocabulary = ("vocab", "--corpus_path", folder / "text.txt", "--delimiter", "bert")
    start(*command, *vocabulary, "--output_path", folder / "vocab.txt")
    for name, dataset in (("text", "dataset"), ("held_out", "held_out")):
        start(
            *command,
            *("preprocess", "--corpus_path", folder / f"{name}.txt", "--vocab_path", folder / "vocab.txt"),
            *("--dataset_path", folder / dataset, "--data_processor", "mlm", "--seq_length", "32"),
        )
    (folder / "model.json").write_text(json.dumps(TINY_MODEL))
    return folder


def write_text(path: Path, lines: int, seed: int) -> None:
    """Sentences of a small made-up language whose characters follow each other in a learnable way."""
    draw = random.Random(seed)
    characters = [chr(0x4E00 + 7 * i) for i in range(60)]
    with path.open("w", encoding="utf-8") as file:
        for _ in range(lines):
            place, text = draw.randrange(60), ""
            for _ in range(draw.randrange(5, 60)):
                text += characters[place]
                place = (place + draw.choice((1, 1, 1, 2))) % 60
            file.write(text + "。\n")


PARTITIONS_ALL = {
    "stage3_param_persistence_threshold": 0,
    "stage3_max_reuse_distance": 0,
    "stage3_prefetch_bucket_size": 5000,
}
"""The shipped limits are for large models: every tensor of a small one would stay whole on every rank. With these all
are divided, fetched some layers ahead, and let go after each use."""


def partitioning(name: str) -> dict[str, Any]:
    """The shipped DeepSpeed JSON `name`, which under stage 3 also divides the tensors of a small model."""
    shipped = read_json_object(find_json("ds_configs", name, "test"))
    zero = shipped.get("zero_optimization", {})
    return {**shipped, "zero_optimization": {**zero, **PARTITIONS_ALL}} if zero.get("stage") == 3 else shipped


def partitioning_path(folder: Path, name: Any) -> Any:
    """Where `partitioning(name)` lies, in `folder`; other stages than 3 as they are shipped."""
    if not str(name).startswith("zero3"):
        return name
    path = folder / f"{name}.json"
    path.write_text(json.dumps(partitioning(name)))
    return path


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Makes a file system of a size such as "256k"; needs root."""
    mounted: list[Path] = []

    def mount(size: str) -> Path:
        folder = tmp_path / "disk"
        folder.mkdir()
        words = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
        if os.geteuid() != 0 or not shutil.which("mount") or subprocess.run(words, capture_output=True).returncode:
            pytest.skip("a small file system cannot be mounted here")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill_disk(ballast: Path, left: int = 0) -> None:
    """Write a file until its disk is full, up to `left` bytes."""
    with ballast.open("wb", buffering=0) as file:
        while (free := shutil.disk_usage(ballast.parent).free) > left:
            file.write(bytes(min(free - left, 1 << 16)))


def pretrain_options(material: Path, output: Path, **options: Any) -> list[str]:
    """Arguments of `uer-ds pretrain` on the small material; `options` over the usual ones, None to leave one out.

    A `ds_config` of stage 3 is `partitioning` what is shipped under that name.
    """
    usual: dict[str, Any] = {
        "dataset_path": material / "dataset",
        "config_path": material / "model.json",
        "output_model_path": output,
        "total_steps": 20,
        "batch_size": 16,
        "seq_length": 32,
        "learning_rate": 1e-3,
        "report_steps": 1,
        "dropout": 0.0,
        "max_grad_norm": 1.0,
    }
    if "ds_config" in options:
        usual["ds_config"] = partitioning_path(material, options.pop("ds_config"))
    words: list[str] = []
    for name, value in {**usual, **options}.items():
        if value is True:
            words.append(f"--{name}")
        elif value is not None:
            words += [f"--{name}", str(value)]
    return words


def metrics(output: Path, name: str = "metrics.jsonl") -> list[dict[str, Any]]:
    """The reports of a run."""
    return [json.loads(line) for line in (output / name).read_text().splitlines()]
