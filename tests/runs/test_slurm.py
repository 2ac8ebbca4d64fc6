"""A real SLURM with two nodes on this machine: submit, save on a signal, queue again, go on; lose a node, go on."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runs.conftest import ROOT, metrics, pretrain_options
from tests.runs.slurm_cluster import Cluster, why_not

UPDATES = 200


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if reason := why_not():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("slurm")
    with Cluster(folder) as running:
        # As many threads everywhere: the order of a sum decides its last bit. And the clone, for srun without a script.
        running.environ |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "DS_ACCELERATOR": "cpu"}
        yield running


def reports(output: Path) -> int:
    return len(metrics(output)) if (output / "metrics.jsonl").exists() else 0


def words(material: Path, output: Path) -> list[str]:
    return pretrain_options(
        material, output, total_steps=UPDATES, ds_config="zero2", dropout=0.1, save_checkpoint_steps=40
    )


def submit(cluster: Cluster, *words: str) -> int:
    command = [sys.executable, "-m", "uer_ds", "submit", *words]
    done = subprocess.run(command, cwd=ROOT, env=cluster.environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split(";")[0].removeprefix("job "))


def test_a_job_survives_preemption_and_the_loss_of_a_node(cluster: Cluster, material: Path, tmp_path: Path) -> None:
    output = tmp_path / "job"
    job = submit(cluster, "--nodes", "2", "--time", "1:00:00", "--", *words(material, output))
    logs = output / "logs"

    def has_restarted(times: int) -> bool:
        return int(cluster.job(job)["Restarts"]) == times

    def said(text: str, name: str = f"slurm-{job}.log") -> bool:
        return (logs / name).exists() and text in (logs / name).read_text()

    cluster.wait(lambda: reports(output) >= 3, "no update", 90)
    cluster.ask("scancel", "--signal=USR1", str(job))
    cluster.wait(lambda: said("saved and stopped on request"), "no save after SIGUSR1", 60)
    saved = reports(output)
    assert saved < UPDATES
    assert (output / f"checkpoint-{saved}").is_dir()

    cluster.wait(lambda: has_restarted(1) and reports(output) >= saved + 3, "the job does not go on", 90)
    assert said(f"checkpoint-{saved} ({saved} updates", "rank0.log")
    cluster.kill("n2")
    cluster.wait(lambda: said("failure 1 of at most 5"), "the loss of a node is not noticed", 30)
    assert said("rank 1 on host n2 died without a word", "rank0.log")
    cluster.start_node("n2")

    cluster.wait(lambda: cluster.job(job)["JobState"] == "COMPLETED", "the job does not end", 120)
    assert has_restarted(2)
    assert said("start 3, nodes n[1-2]")
    assert (logs / f"slurm-{job}.log").read_text().count("node n2: fit") == 3
    assert (logs / "rank1.log").exists()
    assert not list(logs.glob(".*"))

    undisturbed = tmp_path / "undisturbed"  # one task a process, without a batch script
    command = ["srun", "--nodes=2", "--ntasks=2", sys.executable, "launch/pretrain.py", *words(material, undisturbed)]
    done = subprocess.run(command, cwd=ROOT, env=cluster.environ, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert [r["loss"] for r in metrics(output)] == [r["loss"] for r in metrics(undisturbed)]


def test_an_unfit_node_is_named_and_nothing_is_started(cluster: Cluster, material: Path, tmp_path: Path) -> None:
    """GPUs are asked of nodes that have none."""
    output = tmp_path / "job"
    command = [sys.executable, "-m", "uer_ds", "submit", "--nodes", "2", "--dry_run", "--", *words(material, output)]
    script = subprocess.run(command, cwd=ROOT, env=cluster.environ, capture_output=True, text=True).stdout
    assert "DEVICES=0" in script
    (tmp_path / "job.sbatch").write_text(script.replace("DEVICES=0", "DEVICES=4"))
    logs = output / "logs"
    logs.mkdir(parents=True)
    job = int(cluster.ask("sbatch", "--parsable", str(tmp_path / "job.sbatch")))
    cluster.wait(lambda: cluster.job(job)["JobState"] == "FAILED", "the job does not end", 60)
    text = (logs / f"slurm-{job}.log").read_text()
    for node in ("n1", "n2"):
        assert f"node {node}: expected 4 accelerators, found none" in text
    assert "the run was not started" in text
    assert cluster.job(job)["ExitCode"] == "2:0"
    assert not os.path.exists(output / "metrics.jsonl")
