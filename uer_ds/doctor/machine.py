"""One machine as one process sees it: versions, devices, memory, compilers, MPI, SLURM, disks.

Nothing here talks to another process, and nothing is changed but for a file of 64 MB that is written, read and removed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path

import psutil
import torch

from uer_ds.doctor.findings import Finding, error, ok, warning
from uer_ds.doctor.hidden import HIDDEN_PREFIX
from uer_ds.engine.cores import cores_here, threads_chosen
from uer_ds.engine.job_limits import memory_left
from uer_ds.launch.place import Place

TESTED_DEEPSPEED = "0.19."
PROBE_BYTES = 64 * 1024**2
SLOW_DISK = 50e6
"""Bytes a second below which a checkpoint of a billion parameters takes over eight minutes."""

SLURM_NAMES = ("SLURM_JOB_ID", "SLURM_JOB_NODELIST", "SLURM_NTASKS", "SLURM_CPUS_PER_TASK", "SLURM_GPUS_ON_NODE")


def versions(numbers: Mapping[str, str]) -> Iterator[Finding]:
    """What a run's results depend on; `numbers`: name -> version."""
    line = ", ".join(f"{name} {version}" for name, version in numbers.items())
    if numbers["deepspeed"].startswith(TESTED_DEEPSPEED):
        yield ok("versions", line)
    else:
        yield warning("versions", line, f"tested with DeepSpeed {TESTED_DEEPSPEED}x: pip install 'deepspeed<0.20'")


def devices(kind: str, count: int, place: Place, environ: Mapping[str, str]) -> Iterator[Finding]:
    """`count` accelerators of `kind` ("cpu", "cuda", ...) against the processes of this machine."""
    here = place.local_world_size
    if kind == "cpu":
        cores = cores_here()
        share = max(1, cores // here)  # what a run takes where a launcher has not given each process its own cores
        threads = int(environ["OMP_NUM_THREADS"]) if threads_chosen(environ) else share
        found = f"no accelerator; {cores} cores, {here} processes here, {threads} threads each"
        if shutil.which("nvidia-smi") and not torch.version.cuda:
            yield warning("devices", f"{found}; an NVIDIA driver is there", "install a torch that was built for CUDA")
        elif threads * here > max(cores, here):
            yield warning("devices", found, f"more threads than cores: OMP_NUM_THREADS={share}, or leave it unset")
        else:
            yield ok("devices", found)
        return
    names = sorted({torch.cuda.get_device_name(i) for i in range(count)}) if kind == "cuda" else [kind]
    found = f"{count} x {', '.join(names)}, {here} processes here"
    if here > count:
        yield error("devices", found, f"start at most {count} processes on this machine, or set DS_ACCELERATOR=cpu")
    elif here < count and place.launcher != "none":
        yield warning("devices", found, f"{count - here} devices are idle: start {count} processes on this machine")
    else:
        yield ok("devices", found)


def memory(needed: float) -> Iterator[Finding]:
    """Free memory of this machine against `needed` bytes of all its processes; 0: unknown."""
    free = min(psutil.virtual_memory().available, memory_left())
    found = f"{free / 1e9:.1f} GB free" + (f", about {needed / 1e9:.1f} GB needed" if needed else "")
    if needed > free:
        yield error("memory", found, "fewer processes on a machine, a smaller model, or --ds_config zero3")
    else:
        yield ok("memory", found)


def compilers(ops_folder: Path | None, can_do_aio: bool) -> Iterator[Finding]:
    """What DeepSpeed needs to compile its parts: a C++ compiler that works, ninja, a folder; libaio for NVMe."""
    compiler = os.environ.get("CXX", "c++")
    path = shutil.which(compiler)
    if path is None:
        yield error(
            "compiler", f"no {compiler}", "install a C++ compiler (apt install g++), or set CXX to the one there is"
        )
    else:
        yield _compiles(path)
    if shutil.which("ninja") is None:
        yield error("ninja", "not found on PATH", "pip install ninja; DeepSpeed compiles its parts with it")
    where = str(ops_folder) if ops_folder else os.environ.get("TORCH_EXTENSIONS_DIR", "")
    if where and not os.access(where, os.W_OK):
        yield error("compiler", f"{where} cannot be written", "set TORCH_EXTENSIONS_DIR to a folder on a local disk")
    yield ok("libaio", "there: offloading to NVMe is possible" if can_do_aio else "absent: no offloading to NVMe")


def _compiles(compiler: str) -> Finding:
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "probe.cpp"
        source.write_text("#include <optional>\nint main() { return std::optional<int>(0).value(); }\n")
        command = [compiler, "-std=c++17", str(source), "-o", f"{folder}/probe"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if done.returncode:
        first = (done.stderr.strip().splitlines() or ["no message"])[0]
        return error("compiler", f"{compiler} fails on C++17: {first}", "install a newer one, or set CXX")
    return ok("compiler", f"{compiler} compiles C++17")


def mpi(place: Place) -> Iterator[Finding]:
    """Whether mpi4py is there, which is needed under mpirun over several machines only."""
    try:
        version = metadata.version("mpi4py")
    except metadata.PackageNotFoundError:
        version = ""
    under_mpi = place.launcher == "mpirun"
    if version:
        yield ok("MPI", f"mpi4py {version}" + (", started by mpirun" if under_mpi else ""))
    elif under_mpi and not place.address:
        yield error("MPI", "mpirun over several machines without mpi4py", "pip install mpi4py, or set MASTER_ADDR")
    else:
        yield ok("MPI", "no mpi4py, and no need of it here")


def slurm(environ: Mapping[str, str], place: Place) -> Iterator[Finding]:
    """The job that SLURM has given, and whether the processes were started as it meant."""
    if "SLURM_JOB_ID" not in environ:
        yield ok("SLURM", "not inside a job")
        return
    found = ", ".join(
        f"{name.removeprefix('SLURM_').lower()} {environ[name]}" for name in SLURM_NAMES if name in environ
    )
    tasks = int(environ.get("SLURM_NTASKS", "1"))
    cores = environ.get("SLURM_CPUS_PER_TASK", "")
    if place.launcher == "none" and tasks > 1:
        yield warning("SLURM", f"{found}; one process only", f"start it with srun: {tasks} tasks were allocated")
    elif cores == "1" and torch.cuda.is_available():
        yield warning("SLURM", found, "one core a task starves a GPU of data: --cpus-per-task 4 or more")
    else:
        yield ok("SLURM", found)


def disk(folder: Path, needed: float) -> Iterator[Finding]:
    """Space and speed of the disk under `folder`, which need not exist; `needed`: bytes of a checkpoint, 0 unknown."""
    existing = next(path for path in (folder, *folder.resolve().parents) if path.is_dir())
    free = shutil.disk_usage(existing).free
    space = f"{folder}: {free / 1e9:.1f} GB free" + (f", a checkpoint takes {needed / 1e9:.1f} GB" if needed else "")
    if not os.access(existing, os.W_OK):
        yield error("disk", f"{existing} cannot be written", "choose another --output_model_path")
        return
    if free < max(needed, 2 * PROBE_BYTES):
        yield error("disk", space, "make room, or choose another --output_model_path")
        return
    written, read = disk_speed(existing)
    found = f"{space}; writes {written / 1e6:,.0f} MB/s, reads {read / 1e6:,.0f} MB/s"
    if written < SLOW_DISK:
        seconds = needed / written
        yield warning(
            "disk", found, f"a checkpoint takes {seconds:,.0f} seconds here: save rarely, or use another disk"
        )
    elif needed and free < 3 * needed:
        yield warning("disk", found, "room for less than three checkpoints: give --keep_checkpoints 1")
    else:
        yield ok("disk", found)


def disk_speed(folder: Path) -> tuple[float, float]:
    """Bytes a second, written (synced) and read back (out of the cache where the system lets go of it)."""
    with tempfile.NamedTemporaryFile(dir=folder, prefix=HIDDEN_PREFIX) as file:
        piece = os.urandom(2**20)
        began = time.perf_counter()
        for _ in range(PROBE_BYTES // len(piece)):
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
        written = PROBE_BYTES / (time.perf_counter() - began)
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        began = time.perf_counter()
        file.seek(0)
        while file.read(2**20):
            pass
        return written, PROBE_BYTES / (time.perf_counter() - began)
