"""`uer-ds doctor` finds nothing wrong where nothing is, and each injected fault with its remedy."""

from __future__ import annotations

import fcntl
import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.runs.conftest import Run, pretrain_options
from tests.runs.test_bad_input import small_disk as small_disk
from uer_ds.cli.main import main
from uer_ds.doctor import machine
from uer_ds.doctor.findings import ERROR, OK, WARNING, Finding, examine, told, worst
from uer_ds.engine.cores import cores_here
from uer_ds.launch.address import free_port
from uer_ds.launch.place import Place

ALONE = Place("none", 0, 1, 0, 1, "127.0.0.1", 0)
LINE = re.compile(r"^(ok|warning|error) +(\S+) +(.*)$", re.MULTILINE)


def statuses(said: str) -> dict[str, str]:
    """Subject -> gravest status in what the doctor printed."""
    found: dict[str, str] = {}
    for status, subject, _ in LINE.findall(said):
        found[subject] = worst([Finding(subject, found.get(subject, OK), ""), Finding(subject, status, "")])
    return found


def run_options(material: Path, output: Path) -> list[str]:
    words = ["--dataset_path", material / "dataset", "--config_path", material / "model.json"]
    return [str(word) for word in [*words, "--output_model_path", output, "--batch_size", "4"]]


def test_two_healthy_processes(material: Path, tmp_path: Path, run_together: Run) -> None:
    output = tmp_path / "new" / "run"
    said = run_together(2, "launch/doctor.py", *run_options(material, output), "--ds_config", "zero2").stdout
    found = statuses(said)
    assert "error" not in found.values(), said
    subjects = {"versions", "devices", "memory", "compiler", "MPI", "SLURM", "network", "disk", "dataset", "dry"}
    assert subjects <= set(found)
    assert re.search(r"2 processes on 1 machines by \w+: [\d.]+ GB/s over each link", said)
    assert re.search(r"dry run +2 updates, loss [\d.]+ then [\d.]+", said)
    assert not output.parent.exists(), "a visit leaves nothing behind"


def doctor(capsys: pytest.CaptureFixture[str], *words: str | Path, expect: int) -> str:
    """In this process, without a dry run, which a process can do once only."""
    assert main(["doctor", *map(str, words)]) == expect
    return capsys.readouterr().out


def test_a_machine_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = doctor(capsys, "--output_model_path", tmp_path, expect=0)
    assert "no --dataset_path: neither dataset nor training is looked at" in said
    assert re.search(r"writes [\d,]+ MB/s, reads [\d,]+ MB/s", said)


def test_a_damaged_dataset(material: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(material / "dataset", tmp_path / "dataset")
    shard = next((tmp_path / "dataset").glob("*.bin"))
    data = bytearray(shard.read_bytes())
    data[100] ^= 1
    shard.write_bytes(data)
    words = [*run_options(material, tmp_path / "run"), "--dataset_path", str(tmp_path / "dataset")]
    said = doctor(capsys, *words, expect=1)
    assert statuses(said)["dataset"] == ERROR
    assert shard.name in said
    assert "dry" not in statuses(said), "nothing is trained on it"


def test_options_that_make_no_run(material: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = doctor(capsys, *run_options(material, tmp_path), "--seq_length", "65", expect=1)
    assert statuses(said)["options"] == ERROR
    assert "max_seq_length 64" in said
    assert statuses(said)["disk"] == OK, "the machine is looked at all the same"


def test_a_folder_that_a_run_would_be_refused_or_go_on_in(
    material: Path, tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "run"
    run("uer-ds", "pretrain", *pretrain_options(material, output, total_steps=2, save_checkpoint_steps=1))

    def looks(expect: int, **options: Any) -> str:
        words = pretrain_options(material, output, **{"total_steps": 4, "no_checksums": True, **options})
        return doctor(capsys, *words, expect=expect)

    said = looks(1, seed=8)
    assert statuses(said)["resume"] == ERROR
    assert "checkpoint-2: was trained with --seed 7, this run has 8" in said
    assert "dry" not in statuses(said)
    assert "give --force to remove them" in looks(1, no_resume=True)
    with (output / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "is being written by another run" in looks(1)
    (output / "checkpoint-2" / "config.json").unlink()
    said = run("uer-ds", "doctor", *pretrain_options(material, output, total_steps=4)).stdout
    assert "checkpoint-2 is damaged and passed over" in said
    assert f"a run would go on from {output}/checkpoint-1 (1 updates, all its files as written)" in said
    assert sorted(path.name for path in output.glob("checkpoint-*")) == ["checkpoint-1", "checkpoint-2"]


def test_processes_that_do_not_come(tmp_path: Path, run: Run) -> None:
    place = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1"}
    place["MASTER_PORT"] = str(free_port())
    command = [sys.executable, "-m", "uer_ds", "doctor", "--timeout_minutes", "0.05"]
    done = run(*command, "--output_model_path", tmp_path, expect=1, timeout=60, **place)
    assert statuses(done.stdout)["start"] == ERROR
    assert "missing: rank 1" in done.stdout
    assert "Traceback" not in done.stderr


def test_a_disk_that_is_full(small_disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = doctor(capsys, "--output_model_path", small_disk / "run", expect=1)
    assert "-> make room, or choose another --output_model_path" in said


def test_a_folder_that_cannot_be_written(capsys: pytest.CaptureFixture[str]) -> None:
    assert statuses(doctor(capsys, "--output_model_path", "/proc/run", expect=1))["disk"] == ERROR


def test_compilers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert worst(machine.compilers(tmp_path, can_do_aio=False)) == OK
    broken = tmp_path / "c++"
    broken.write_text("#!/bin/sh\necho 'error: no C++17' >&2\nexit 1\n")
    broken.chmod(0o755)
    for compiler, words in (("nowhere++", "no nowhere++"), (str(broken), "fails on C++17: error: no C++17")):
        monkeypatch.setenv("CXX", compiler)
        (mistake,) = [finding for finding in machine.compilers(tmp_path, True) if finding.status == ERROR]
        assert words in mistake.found
        assert "CXX" in mistake.remedy
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "ninja" in {finding.subject for finding in machine.compilers(tmp_path, True) if finding.status == ERROR}


def test_devices_and_threads() -> None:
    cores = cores_here()
    (many,) = machine.devices("cpu", 0, ALONE, {"OMP_NUM_THREADS": str(4 * cores)})
    assert (many.status, f"OMP_NUM_THREADS={cores}" in many.remedy) == (WARNING, True)
    eight = Place("deepspeed", 0, 8, 0, 8, "127.0.0.1", 1)
    (few,) = machine.devices("npu", 4, eight, {})
    assert (few.status, "at most 4 processes" in few.remedy) == (ERROR, True)
    (idle,) = machine.devices("npu", 16, eight, {})
    assert (idle.status, "8 devices are idle" in idle.remedy) == (WARNING, True)


def test_slurm_and_mpi(monkeypatch: pytest.MonkeyPatch) -> None:
    job = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_JOB_NODELIST": "n[1-2]"}
    (outside,) = machine.slurm(job, ALONE)
    assert (outside.status, "srun" in outside.remedy, "nodelist n[1-2]" in outside.found) == (WARNING, True, True)
    (inside,) = machine.slurm(job, Place("srun", 0, 4, 0, 2, "n1", 20000))
    assert inside.status == OK

    def absent(name: str) -> str:
        raise machine.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(machine.metadata, "version", absent)
    (needed,) = machine.mpi(Place("mpirun", 0, 4, 0, 2, "", 0))
    assert (needed.status, "pip install mpi4py" in needed.remedy) == (ERROR, True)
    assert worst(machine.mpi(ALONE)) == OK


def test_versions_memory_and_slow_disks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (other,) = machine.versions({"deepspeed": "0.31.0"})
    assert (other.status, "deepspeed<0.20" in other.remedy) == (WARNING, True)
    assert worst(machine.memory(1e18)) == ERROR
    monkeypatch.setattr(machine, "disk_speed", lambda folder: (1e6, 1e6))
    (slow,) = machine.disk(tmp_path, 1e8)
    assert (slow.status, "100 seconds" in slow.remedy) == (WARNING, True)


def test_findings_of_many_are_told_once() -> None:
    def fails() -> list[Finding]:
        raise RuntimeError("the cable\nis out")

    same, (broken,) = Finding("disk", OK, "fast"), examine("network", fails, "plug it in")
    lines = list(
        told([("rank 0", same), ("rank 1", same), ("rank 0", Finding("network", OK, "well")), ("rank 1", broken)])
    )
    assert lines == [
        "ok       disk      fast",
        "ok       network   rank 0: well",
        "error    network   rank 1: RuntimeError: the cable is out",
        f"{'':17}  -> plug it in",
    ]
    assert json.dumps([worst([same, broken]), worst([])]) == '["error", "ok"]'
