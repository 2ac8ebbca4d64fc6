"""The same command under every launcher gives the same run; an interrupted one is resumed by repeating it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.runs.conftest import BIN, ROOT, Run, metrics, pretrain_options, two_by_deepspeed
from uer_ds.engine.cores import physical_cores, ranges, share_of
from uer_ds.engine.job_limits import cores_allowed
from uer_ds.engine.shared_buffers import buffer_path
from uer_ds.launch.address import free_port

DOOR = "launch/pretrain.py"
UPDATES = 4

PLACES = {"torchrun": "torchrun", "mpirun": "mpirun", sys.executable: "deepspeed"}
"""What the first lines of a run call a launcher."""


def options(material: Path, output: Path, **more: Any) -> list[str]:
    return pretrain_options(material, output, total_steps=UPDATES, ds_config="zero2", dropout=0.1, **more)


def losses(output: Path) -> list[float]:
    return [report["loss"] for report in metrics(output)]


@pytest.fixture(scope="module")
def port() -> int:
    """Where the two ranks of `under_deepspeed` meet."""
    return free_port()


@pytest.fixture(scope="module")
def under_deepspeed(port: int, material: Path, tmp_path_factory: pytest.TempPathFactory, run: Run) -> Path:
    """The output of two ranks under `deepspeed`, with everything that reports switched on."""
    output = tmp_path_factory.mktemp("deepspeed") / "run"
    engine = {"zero_optimization": {"stage": 2}, "csv_monitor": {"enabled": True, "output_path": str(output / "csv")}}
    (output.parent / "zero2_csv.json").write_text(json.dumps(engine))
    words = options(material, output, eval_dataset_path=material / "held_out", log_path=output.parent / "log.txt")
    words[words.index("zero2")] = str(output.parent / "zero2_csv.json")
    run("deepspeed", "--num_accelerators", "2", "--master_port", str(port), DOOR, *words)
    return output


def test_every_report_is_written(under_deepspeed: Path) -> None:
    reports = metrics(under_deepspeed)
    assert [report["update"] for report in reports] == list(range(1, UPDATES + 1))
    names = {
        "loss",
        "accuracy",
        "learning_rate",
        "grad_norm",
        "tokens",
        "tokens_per_second",
        "memory_gb",
        "seconds_left",
        "seconds",
        "seconds_for_data",
        "seconds_paused",
    }
    assert names <= set(reports[0])
    # Packed rows have no padding: 2 ranks x 16 sequences x 32 tokens in every update.
    assert [report["tokens"] for report in reports] == [1024 * n for n in range(1, UPDATES + 1)]
    assert len((under_deepspeed.parent / "log.txt").read_text().splitlines()) >= UPDATES
    assert [e["update"] for e in metrics(under_deepspeed, "evaluations.jsonl")] == [0, UPDATES]


def test_no_shared_memory_is_left_behind(under_deepspeed: Path, port: int) -> None:
    assert buffer_path(0, "127.0.0.1", port).parent.is_dir()
    assert not any(buffer_path(rank, "127.0.0.1", port).exists() for rank in range(2))


def test_tensorboard_reads_the_same_numbers(under_deepspeed: Path) -> None:
    board = EventAccumulator(str(under_deepspeed / "tensorboard")).Reload()
    reports = metrics(under_deepspeed)
    for name in ("loss", "accuracy", "learning_rate", "tokens_per_second", "grad_norm"):
        events = board.Scalars(f"train/{name}")
        assert [event.step for event in events] == [report["update"] for report in reports]
        assert [event.value for event in events] == pytest.approx([report[name] for report in reports], rel=1e-6)
    assert {"eval/loss", "eval/accuracy"} <= set(board.Tags()["scalars"])
    text = board.Tensors("configuration/text_summary")[0].tensor_proto.string_val[0].decode()
    assert '"hidden_size": 32' in text


def test_deepspeeds_own_monitors_get_the_reports(under_deepspeed: Path) -> None:
    files = {path.name for path in (under_deepspeed / "csv").rglob("*.csv")}
    assert "train_loss.csv" in files


def test_the_run_can_be_read_back(under_deepspeed: Path) -> None:
    saved = json.loads((under_deepspeed / "run.json").read_text())
    assert saved["train"]["total_steps"] == UPDATES
    assert saved["model"]["hidden_size"] == 32
    assert saved["engine"]["zero_optimization"] == {"stage": 2}


@pytest.mark.parametrize(
    "launcher",
    [
        ["torchrun", "--nproc_per_node", "2", "--master_port", "PORT", DOOR],
        ["mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-np", "2", sys.executable, DOOR],
        [sys.executable, DOOR, "--world_size", "2", "--gpu_ranks", "0", "1", "--master_ip", "tcp://localhost:PORT"],
    ],
    ids=["torchrun", "mpirun", "page command"],
)
def test_other_launchers_give_the_same_run(
    launcher: list[str], material: Path, under_deepspeed: Path, tmp_path: Path, run: Run
) -> None:
    output = tmp_path / "run"
    port = str(free_port())
    command = [word.replace("PORT", port) for word in launcher]
    done = run(*command, *options(material, output), MASTER_PORT=port if launcher[0] == "mpirun" else "")
    assert losses(output) == losses(under_deepspeed)
    own = frozenset(os.sched_getaffinity(0))
    share = share_of(0, [own, own], physical_cores(own), cores_allowed(), {})
    threads = "1 thread" if share.threads == 1 else f"{share.threads} threads"
    where = f" on CPU {ranges(share.cpus)}" if share.cpus else ""
    (engine,) = [line for line in done.stdout.splitlines() if line.startswith("engine ")]
    assert engine.endswith(f"{threads}{where}, launcher {PLACES[launcher[0]]}")


def test_slurm_steps_find_each_other(material: Path, under_deepspeed: Path, tmp_path: Path) -> None:
    """Two processes with the variables that `srun` sets."""
    words = [sys.executable, DOOR, *options(material, tmp_path / "run")]
    step = {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_TASKS_PER_NODE": "2", "SLURM_JOB_ID": "7"}
    step |= {"SLURM_NODEID": "0", "SLURM_STEP_NODELIST": "localhost", "PYTHONPATH": str(ROOT)}
    both = []
    for rank in "01":
        environ = {**os.environ, **step, "SLURM_PROCID": rank, "SLURM_LOCALID": rank}
        both.append(subprocess.Popen(words, cwd=ROOT, env=environ, stdout=subprocess.DEVNULL))
    assert [process.wait(timeout=120) for process in both] == [0, 0]
    assert losses(tmp_path / "run") == losses(under_deepspeed)


def test_the_mpi_script_goes_on_after_a_lost_rank(material: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    words = pretrain_options(material, output, total_steps=300, report_steps=5, save_checkpoint_steps=40)
    command = ["launch/mpi/pretrain.sh", "--allow-run-as-root", "--oversubscribe", "-np", "2", "--", *words]
    environ = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "PYTHON": sys.executable, "RETRIES": "1"}
    script = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=-1, stderr=-1, text=True)
    deadline = time.monotonic() + 120
    while not list(output.glob("checkpoint-*")) and script.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(int((output / ".lock").read_text().split()[0]), signal.SIGKILL)
    printed, said = script.communicate(timeout=180)
    assert script.returncode == 0, said
    assert said.count("starting again, 1 of 1") == 1
    assert "resume     " in printed
    assert [report["update"] for report in metrics(output)] == list(range(5, 301, 5))


def test_a_time_limit_below_the_start_still_comes_further(material: Path, tmp_path: Path, run: Run) -> None:
    """One update each time, with a checkpoint: a scheduler that starts it again gets to the end."""
    output = tmp_path / "run"
    words = pretrain_options(material, output, total_steps=2, max_minutes=0.001)
    said = run("uer-ds", "pretrain", *words, expect=75).stdout
    assert "stopped by --max_minutes after update 1" in said
    assert [path.name for path in output.glob("checkpoint-*")] == ["checkpoint-1"]
    run("uer-ds", "pretrain", *words)
    assert [report["update"] for report in metrics(output)] == [1, 2]


def test_a_terminated_run_saves_and_is_resumed_by_the_same_command(material: Path, tmp_path: Path, run: Run) -> None:
    output = tmp_path / "run"
    command = two_by_deepspeed(DOOR)
    words = pretrain_options(material, output, total_steps=120, report_steps=5, ds_config="zero1", dropout=0.1)
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": f"{BIN}:{os.environ['PATH']}"}
    first = subprocess.Popen([*command, *words], cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (output / "metrics.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    os.kill(int((output / ".lock").read_text().split()[0]), signal.SIGTERM)
    said, _ = first.communicate(timeout=120)
    assert first.returncode == 75, said
    assert "stopped by SIGTERM" in said
    stopped_at = max(int(path.name.split("-")[1]) for path in output.glob("checkpoint-*"))
    assert 0 < stopped_at < 120
    second = run(*command, *words)
    assert f"checkpoint-{stopped_at} ({stopped_at} updates" in second.stdout
    assert [report["update"] for report in metrics(output)] == list(range(5, 121, 5))
    third = run(*command, *words)
    assert "nothing is left to train" in third.stdout
