"""`Place`: which of how many processes this is, read from the variables that launchers set.

`find_place` is a pure function of the environment, so one process can play every rank in a test. Understood:
`deepspeed` and `torchrun` (RANK, WORLD_SIZE), Open MPI, MPICH and Intel MPI (`mpirun`), SLURM (`srun`), and nothing at
all (one process).
"""

from __future__ import annotations

import subprocess
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from uer_ds.errors import UserError

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Place:
    """One process of a run. `local_*` counts the processes of this machine only.

    `address` and `port` are where rank 0 listens; `address` is empty where only the processes themselves can tell (MPI
    over several machines: they ask each other).
    """

    launcher: str
    rank: int
    world_size: int
    local_rank: int
    local_world_size: int
    address: str
    port: int

    @property
    def is_first(self) -> bool:
        """True on the one process that prints and writes."""
        return self.rank == 0


def find_place(environ: Mapping[str, str]) -> Place:
    """Read this process's `Place` from environment variables; raises `UserError` when they are incomplete."""
    if "RANK" in environ and "WORLD_SIZE" in environ:
        return _from_torch(environ)
    if "OMPI_COMM_WORLD_SIZE" in environ:
        local = ("OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE")
        return _from_mpi(environ, "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", *local)
    if "PMI_SIZE" in environ and "MPI_LOCALNRANKS" in environ:  # SLURM's PMI plugin sets PMI_* too, without the latter
        return _from_mpi(environ, "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS")
    if "SLURM_STEP_ID" in environ and "SLURM_PROCID" in environ:
        return _from_slurm(environ)
    return Place("none", 0, 1, 0, 1, LOOPBACK, 0)


def _from_torch(environ: Mapping[str, str]) -> Place:
    local_world_size = _number(environ, "LOCAL_WORLD_SIZE", environ.get("LOCAL_SIZE", environ["WORLD_SIZE"]))
    return Place(
        launcher="torchrun" if "TORCHELASTIC_RUN_ID" in environ else "deepspeed",
        rank=_number(environ, "RANK"),
        world_size=_number(environ, "WORLD_SIZE"),
        local_rank=_number(environ, "LOCAL_RANK", environ["RANK"]),
        local_world_size=local_world_size,
        address=environ.get("MASTER_ADDR", LOOPBACK),
        port=_number(environ, "MASTER_PORT", "29500"),
    )


def _from_mpi(environ: Mapping[str, str], rank: str, size: str, local_rank: str, local_size: str) -> Place:
    world_size = _number(environ, size)
    local_world_size = _number(environ, local_size, str(world_size))
    one_machine = local_world_size == world_size
    job = environ.get("PMIX_NAMESPACE", environ.get("PMI_JOBID", environ.get("MPIEXEC_HOSTNAME", "mpi")))
    return Place(
        launcher="mpirun",
        rank=_number(environ, rank),
        world_size=world_size,
        local_rank=_number(environ, local_rank, environ[rank]),
        local_world_size=local_world_size,
        address=environ.get("MASTER_ADDR", LOOPBACK if one_machine else ""),
        port=_number(environ, "MASTER_PORT", str(job_port(job))),
    )


def _from_slurm(environ: Mapping[str, str]) -> Place:
    per_node = environ.get("SLURM_STEP_TASKS_PER_NODE", environ.get("SLURM_TASKS_PER_NODE", "1"))
    return Place(
        launcher="srun",
        rank=_number(environ, "SLURM_PROCID"),
        world_size=_number(environ, "SLURM_STEP_NUM_TASKS", environ.get("SLURM_NTASKS", "1")),
        local_rank=_number(environ, "SLURM_LOCALID", "0"),
        local_world_size=tasks_on_node(per_node, _number(environ, "SLURM_NODEID", "0")),
        address=environ.get("MASTER_ADDR", "") or _first_node_address(environ),
        port=_number(environ, "MASTER_PORT", str(job_port(environ.get("SLURM_JOB_ID", "0")))),
    )


def job_port(job: str) -> int:
    """A port that all processes of one job agree on without talking: 20000 to 29999, from the job's name."""
    return 20000 + zlib.crc32(job.encode()) % 10000


def tasks_on_node(description: str, node: int) -> int:
    """SLURM's run-length form of tasks per node, such as "2(x3),1": the number on node `node`, counted from 0."""
    counts: list[int] = []
    for part in description.split(","):
        tasks, _, repeat = part.partition("(x")
        counts += [int(tasks)] * (int(repeat.rstrip(")")) if repeat else 1)
    return counts[min(node, len(counts) - 1)]


def first_node(node_list: str) -> str:
    """The first name of a SLURM node list, such as "gpu[07-09,12],cpu1" -> "gpu07"."""
    prefix, bracket, rest = node_list.partition("[")
    if not bracket or "," in prefix:
        return node_list.split(",")[0]
    first = rest.split("]")[0].split(",")[0].split("-")[0]
    return prefix + first


def _first_node_address(environ: Mapping[str, str]) -> str:
    nodes = environ.get("SLURM_STEP_NODELIST", environ.get("SLURM_JOB_NODELIST", ""))
    if not nodes:
        return LOOPBACK
    name = first_node(nodes)
    return _slurm_address(name) or name


def _slurm_address(name: str) -> str:
    """SLURM's own address of a node; its name need not be known to the resolver. Empty when scontrol cannot tell."""
    try:
        answer = subprocess.run(["scontrol", "show", "node", name], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    for word in answer.stdout.split():
        if word.startswith("NodeAddr="):
            return word.partition("=")[2]
    return ""


def _number(environ: Mapping[str, str], name: str, default: str | None = None) -> int:
    text = environ.get(name, default)
    if text is None or not text.strip().isdigit():
        raise UserError(f"environment variable {name} is {text!r}; expected a number, as a launcher sets it.")
    return int(text)
