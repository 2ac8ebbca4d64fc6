"""A SLURM job as text: the script `launch/slurm/pretrain.sbatch` with its upper part written for one run.

`render` is a pure function; `submit` hands its text to `sbatch`.
"""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from uer_ds.errors import UserError

LINE = "# ---- below this line"
TASKS = ("node", "gpu")
CORES_PER_GPU = 8
"""For a process and its loader's threads; machines with eight GPUs have 64 cores and more."""


@dataclass(frozen=True)
class Job:
    """What a job asks for and runs.

    Attributes:
        processes_per_node: processes on each node; one for each GPU, or as many as wanted on CPUs.
        gpus_per_node: GPUs to ask for; 0 trains on CPUs.
        tasks_per: "node": SLURM starts one task a node, which starts its processes; "gpu": SLURM starts every process.
        requests: further `#SBATCH` lines, "--partition=gpu".
        warning_seconds: how long before the time limit the run is told to save.
        retries: starts after a lost node or a crash, until there is a new checkpoint.
        output: the run's folder, where a new checkpoint shows that it has come further.
        logs: folder of the job's and the ranks' logs, shared by all nodes.
        options: of `uer-ds pretrain`.
    """

    nodes: int
    processes_per_node: int
    gpus_per_node: int
    tasks_per: str
    name: str
    requests: Sequence[str]
    warning_seconds: int
    retries: int
    output: str
    logs: str
    python: str
    clone: str
    options: Sequence[str]

    def __post_init__(self) -> None:
        for name, least in (("nodes", 1), ("processes_per_node", 1), ("gpus_per_node", 0), ("retries", 0)):
            if getattr(self, name) < least:
                raise UserError(f"--{name} is {getattr(self, name)}; expected {least} or more.")


def cores(gpus_per_node: int, tasks_per: str, cpus_per_task: str | None) -> list[str]:
    """What to ask for in cores, of which SLURM gives a task one otherwise: `CORES_PER_GPU`, or whole nodes of CPUs."""
    if cpus_per_task:
        return [f"--cpus-per-task={cpus_per_task}"]
    if gpus_per_node:
        return [f"--cpus-per-task={CORES_PER_GPU * (1 if tasks_per == 'gpu' else gpus_per_node)}"]
    return ["--exclusive"]


def render(job: Job, template: str) -> str:
    """The text of the batch script; `template` is that of `launch/slurm/pretrain.sbatch`."""
    per_task = job.processes_per_node if job.tasks_per == "gpu" else 1
    requests = [
        f"--job-name={job.name}",
        f"--nodes={job.nodes}",
        f"--ntasks-per-node={per_task}",
        *([f"--gpus-per-node={job.gpus_per_node}"] if job.gpus_per_node else []),
        f"--signal=USR1@{job.warning_seconds}",
        "--requeue",
        "--open-mode=append",
        f"--output={job.logs}/slurm-%j.log",
        *job.requests,
    ]
    values = {
        "PYTHON": job.python,
        "CLONE": job.clone,
        "OUTPUT": job.output,
        "LOGS": job.logs,
        "DEVICES": str(job.gpus_per_node),
        "PROCESSES": str(job.nodes * job.processes_per_node),
        "RETRIES": str(job.retries),
    }
    lines = ["#!/bin/bash", *(f"#SBATCH {request}" for request in requests), ""]
    lines += [f"{name}={shlex.quote(value)}" for name, value in values.items()]
    lines.append(f"OPTIONS=({shlex.join(job.options)})")
    return "\n".join(lines) + "\n" + template[template.index(LINE) :]


def submit(script: str) -> str:
    """Hand `script` to sbatch; returns the job's number. Raises UserError with sbatch's words when it refuses."""
    try:
        done = subprocess.run(["sbatch", "--parsable"], input=script, capture_output=True, text=True)
    except FileNotFoundError:
        raise UserError(
            "sbatch is not on PATH, so there is no SLURM here; --dry_run shows the script, --hostfile starts by ssh."
        ) from None
    if done.returncode:
        words = " ".join(done.stderr.split())
        raise UserError(f"sbatch refuses the job: {words}; --dry_run shows the script.")
    return done.stdout.strip().split(";")[0]
