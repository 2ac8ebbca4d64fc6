"""A real SLURM of two nodes, n1 and n2, on this machine, in a folder of its own: munged, slurmctld, two slurmd.

Needs Debian's `slurm-wlm` and `munge` and the rights of root; `why_not` says what is missing. Nothing outside the
folder is read or written, so that it runs beside a SLURM that the machine may have.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import psutil

from uer_ds.launch.address import free_port

PROGRAMS = ("munged", "slurmctld", "slurmd", "srun", "sbatch", "scancel", "scontrol", "squeue", "sinfo")
SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
SlurmUser=root
SlurmdUser=root
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmdSpoolDir={folder}/spool-%n
StateSaveLocation={folder}/state
SwitchType=switch/none
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdTimeout={down_seconds}
KillWait=5
MinJobAge=3600
BatchStartTimeout=20
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={port1} CPUs=2 RealMemory=4000
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={port2} CPUs=2 RealMemory=4000
PartitionName=debug Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
"""


def why_not() -> str:
    """The reason why no SLURM can be started here; empty when it can."""
    missing = [name for name in PROGRAMS if shutil.which(name, path=SYSTEM_PATH) is None]
    if missing:
        return f"not installed: {', '.join(missing)} (Debian: apt-get install slurm-wlm munge)"
    return "" if os.geteuid() == 0 else "a SLURM of the test's own needs root"


class Cluster:
    """The daemons; `environ` is what a user's shell on it has. Use inside `with`."""

    def __init__(self, folder: Path, down_seconds: int = 10):
        self.folder = folder
        self.environ = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
        self.environ["PATH"] = f"{self.environ['PATH']}:{SYSTEM_PATH}"
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}
        for name in ("state", "spool-n1", "spool-n2"):
            (folder / name).mkdir()
        ports = [free_port() for _ in range(3)]
        host = socket.gethostname().split(".")[0]
        values = dict(zip(("controller_port", "port1", "port2"), ports, strict=True))
        text = CONFIGURATION.format(folder=folder, host=host, down_seconds=down_seconds, **values)
        (folder / "slurm.conf").write_text(text)
        key = folder / "munge.key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o600)

    def __enter__(self) -> Cluster:
        f = self.folder
        files = {"key-file": "munge.key", "socket": "munge.socket", "pid-file": "munge.pid", "seed-file": "munge.seed"}
        words = [f"--{option}={f / name}" for option, name in {**files, "log-file": "munge.log"}.items()]
        self._start("munged", "--foreground", "--force", *words)
        self.wait(lambda: (f / "munge.socket").exists(), "munged has no socket", 10)
        self._start("slurmctld", "-D", "-i")
        self.start_node("n1")
        self.start_node("n2")
        self.wait(lambda: self.states() == {"n1": "idle", "n2": "idle"}, "the nodes do not come up", 30)
        return self

    def __exit__(self, *error: object) -> None:
        for name in reversed(list(self.daemons)):
            self.kill(name)

    def _start(self, program: str, *words: str, name: str = "") -> None:
        path = shutil.which(program, path=SYSTEM_PATH)
        assert path
        log = (self.folder / f"{name or program}.out").open("ab")
        self.daemons[name or program] = subprocess.Popen([path, *words], env=self.environ, stdout=log, stderr=log)

    def start_node(self, name: str) -> None:
        """Start the slurmd of a node."""
        self._start("slurmd", "-D", "-N", name, name=name)

    def kill(self, name: str) -> None:
        """Kill a daemon; with a node's slurmd everything that runs on that node."""
        daemon = self.daemons.pop(name)
        victims = [daemon.pid]
        if name in ("n1", "n2"):
            victims += [process.pid for process in psutil.process_iter() if self._runs_on(process, name)]
        for pid in victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        daemon.wait()

    def _runs_on(self, process: psutil.Process, node: str) -> bool:
        try:
            environ, cwd = process.environ(), process.name()
        except psutil.Error:
            return False
        ours = environ.get("SLURM_CONF") == self.environ["SLURM_CONF"]
        return ours and (
            environ.get("SLURMD_NODENAME") == node or (cwd == "slurmstepd" and self._step_of(process, node))
        )

    def _step_of(self, process: psutil.Process, node: str) -> bool:
        return any(child.environ().get("SLURMD_NODENAME") == node for child in process.children())

    def ask(self, *command: str) -> str:
        """The output of a SLURM command."""
        done = subprocess.run(command, env=self.environ, capture_output=True, text=True, timeout=60)
        return done.stdout.strip()

    def states(self) -> dict[str, str]:
        """Node -> its state, as sinfo says it."""
        lines = self.ask("sinfo", "-h", "-N", "-o", "%N %T").splitlines()
        return dict(line.split() for line in lines)

    def job(self, number: int) -> dict[str, str]:
        """What scontrol knows of a job."""
        words = self.ask("scontrol", "show", "job", str(number)).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def wait(self, until: object, what: str, seconds: float = 60) -> None:
        """Wait for `until()`; fails with `what` and the daemons' last words."""
        deadline = time.monotonic() + seconds
        while not until():  # type: ignore[operator]
            if time.monotonic() > deadline:
                raise AssertionError(f"{what}\n{self.last_words()}")
            time.sleep(0.2)

    def last_words(self) -> str:
        """The ends of all logs in the folder."""
        logs = [*self.folder.glob("*.log"), *self.folder.glob("*.out")]
        return "\n".join(f"--- {path.name}\n{path.read_text(errors='replace')[-1500:]}" for path in logs)
