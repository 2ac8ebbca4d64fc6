"""A visit: every process looks at its machine, then all talk, then the dataset is read and two updates are made.

What is found is printed by rank 0 as soon as it is known. The visit leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import platform
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from uer_ds.config.run import RunConfig
from uer_ds.data.dataset import open_dataset
from uer_ds.data.measure import total_bytes, verify
from uer_ds.doctor import machine
from uer_ds.doctor.findings import ERROR, Finding, error, examine, failure, ok, told, warning, worst
from uer_ds.doctor.hidden import make_hidden, remove_hidden
from uer_ds.doctor.need import needed_bytes
from uer_ds.doctor.resume import would_resume
from uer_ds.engine import distributed, probe
from uer_ds.engine.group import Group
from uer_ds.engine.machine import accelerators, versions
from uer_ds.engine.ops_cache import use_ops_cache
from uer_ds.errors import UserError
from uer_ds.launch.place import Place
from uer_ds.models.model import build_shapes, count_parameters
from uer_ds.storage.places import METRICS_FILE
from uer_ds.train.checkpoint import BYTES_PER_PARAMETER
from uer_ds.train.pretrain import Trainer
from uer_ds.train.reports import memory_gb
from uer_ds.train.stopping import StopWish

MEGABYTES = 16
SLOW_NETWORK = 20e6
"""Bytes a second over a link below which a gradient of a base model takes over 20 seconds."""


@dataclass(frozen=True)
class Subject:
    """What is visited; `run` is None where only the machines are looked at, `findings` come from the options."""

    run: RunConfig | None
    findings: list[Finding]
    output: Path
    checksums: bool
    timeout_minutes: float


def visit(place: Place, subject: Subject) -> int:
    """Look at everything and tell it; returns the exit status: 0, or 1 when a run would fail. Collective."""
    parameters = count_parameters(build_shapes(subject.run.model)) if subject.run else 0
    visitor = Visit(place, subject, parameters, look_at_machine(place, subject.run))
    try:
        with distributed.joined(place, timeout_minutes=subject.timeout_minutes) as group:
            return visitor.all(group)
    except Exception as mistake:  # `joined` has told the other ranks, who cannot go on
        return visitor.failed(mistake)


class Visit:
    """The part of a visit that all ranks make together. `local`: what this rank found alone."""

    def __init__(self, place: Place, subject: Subject, parameters: int, local: list[Finding]):
        self._place, self._subject, self._parameters = place, subject, parameters
        self._untold = [*subject.findings, *local]
        self._worst = False
        self._stage = "start"
        self._remedy = "were all processes started? is the port open between the machines? can DeepSpeed compile?"

    def all(self, group: Group) -> int:
        """Everything, in order; a dry run only where nothing is wrong so far. An error of collective work escapes."""
        self._group = group
        self._tell(self._untold)
        self._untold = []
        self._together("network", self._network, "see the launcher's own messages")
        disk = self._tell(self._look_at_disk())
        if disk and self._place.world_size > self._place.local_world_size:
            self._together("disk", self._shared, "put --output_model_path on a disk that all machines share")
        run = self._subject.run
        if run is not None:
            self._stage, self._remedy = "dataset", "reading it takes longer: --timeout_minutes N, or --no_checksums"
            self._tell(examine("dataset", lambda: self._datasets(run), "make the dataset again"))
        if run is not None and not self._worst:
            self._together("resume", lambda: self._resume(run), "the newest checkpoint cannot be looked at")
        if run is not None and not self._worst:
            self._together("dry run", lambda: self._dry_run(run), "a run would end like this: mend what is named")
        return 1 if self._worst else 0

    def failed(self, mistake: Exception) -> int:
        """Tell an error that ended the visit; the ranks cannot gather any more. Returns the exit status."""
        if not isinstance(mistake, UserError):
            traceback.print_exception(mistake)
        if self._place.local_rank == 0:
            _print([("", finding) for finding in [*self._untold, failure(self._stage, mistake, self._remedy)]])
        return 1

    def _together(self, stage: str, work: Callable[[], Iterable[Finding]], remedy: str) -> None:
        """Tell the findings of collective work. Its errors are not caught here: the others wait for this rank."""
        self._stage, self._remedy = stage, remedy
        self._tell(list(work()))

    def _tell(self, findings: list[Finding]) -> bool:
        """Print what all ranks have found; all know afterwards whether something is wrong. True: nothing in these."""
        everything = self._group.gather((_name(self._place), findings))
        if self._place.is_first:
            assert everything is not None
            _print([(who, finding) for who, found in everything for finding in found])
        wrong = self._group.sum([float(worst(findings) == ERROR)]).item() > 0
        self._worst |= wrong
        return not wrong

    def _look_at_disk(self) -> list[Finding]:
        if self._place.local_rank:
            return []
        needed = float(BYTES_PER_PARAMETER * self._parameters)
        return examine("disk", lambda: machine.disk(self._subject.output, needed), "choose another disk")

    def _network(self) -> Iterator[Finding]:
        place = self._place
        hosts = self._group.gather(platform.node())
        if place.world_size == 1:
            yield ok("network", "one process, none to talk to")
            return
        right, speed = probe.all_reduce(self._group, MEGABYTES)
        seconds = probe.latency(self._group)
        if not right:
            yield error("network", f"{probe.backend()} adds wrongly", "another driver or library version, then again")
        if not place.is_first:
            return
        machines = len(set(hosts or []))
        found = (
            f"{place.world_size} processes on {machines} machines by {probe.backend()}: {speed / 1e9:.2f} GB/s over "
            f"each link, {seconds * 1e6:,.0f} us to agree"
        )
        if speed < SLOW_NETWORK:
            yield warning("network", found, "name the fast interface: NCCL_SOCKET_IFNAME, GLOO_SOCKET_IFNAME")
        else:
            yield ok("network", found)

    def _shared(self) -> Iterator[Finding]:
        """Whether a file that rank 0 writes into the output folder is there for all."""
        with self._hidden_folder() as folder:
            seen = folder.exists()
            self._group.barrier()
        if seen:
            yield ok("disk", f"{self._subject.output} is the same folder on all machines")
        else:
            remedy = "put --output_model_path on a disk that all machines share"
            yield error("disk", f"{self._subject.output} is not the folder that rank 0 sees", remedy)

    def _datasets(self, run: RunConfig) -> Iterator[Finding]:
        """Every machine can open them; rank 0 reads every byte."""
        for path in [*run.data.dataset_path, *filter(None, [run.data.eval_dataset_path])]:
            dataset = open_dataset(path)
            dataset.load_tokenizer()
            found = f"{path}: {dataset.documents:,} documents, {dataset.tokens:,} tokens"
            if self._place.is_first and self._subject.checksums:
                began = time.perf_counter()
                verify(dataset, lambda _: None)
                speed = total_bytes(dataset) / (time.perf_counter() - began)
                found += f"; all {total_bytes(dataset):,} bytes as written ({speed / 1e6:,.0f} MB/s)"
            if self._place.local_rank == 0:
                yield ok("dataset", found)

    def _resume(self, run: RunConfig) -> Iterator[Finding]:
        """Whether a run would go on from what is in the output folder. All ranks meet the same mistakes."""
        try:
            yield from would_resume(run, self._group, self._subject.output)
        except UserError as mistake:
            yield error("resume", str(mistake), "see above")

    def _dry_run(self, run: RunConfig) -> Iterator[Finding]:
        with self._hidden_folder() as folder:
            with contextlib.redirect_stdout(io.StringIO()):
                seconds = two_updates(run, self._group, folder)
            losses = [report["loss"] for report in _reports(folder)] if self._place.is_first else []
            self._group.barrier()
        if not self._place.is_first:
            return
        shown = " then ".join("not finite" if loss is None else f"{loss:.4f}" for loss in losses)
        found = f"2 updates, loss {shown}, {seconds:.2f} s an update, {memory_gb():.1f} GB"
        if None in losses:
            yield warning("dry run", found, "the loss is not finite: a lower --learning_rate, or bfloat16")
        else:
            yield ok("dry run", found)

    @contextlib.contextmanager
    def _hidden_folder(self) -> Iterator[Path]:
        """A folder of this visit inside the output folder, made by rank 0. The `with` block ends in a barrier."""
        folder, new = self._group.on_first(lambda: make_hidden(self._subject.output))
        try:
            yield folder
        except BaseException:
            remove_hidden(folder, new)  # by whoever fails: rank 0 may be ended by its watch
            raise
        if self._place.is_first:
            remove_hidden(folder, new)


def two_updates(run: RunConfig, group: Group, folder: Path) -> float:
    """Train two updates of `run` with its reports in `folder`; returns seconds an update. Collective."""
    steps = run.train.total_steps // run.total_updates
    train = dataclasses.replace(
        run.train, total_steps=2 * steps, report_steps=1, eval_steps=0, eval_samples=max(1, run.train.batch_size)
    )
    paths = dataclasses.replace(run.paths, output_model_path=str(folder), tensorboard_dir=None, log_path=None)
    trainer = Trainer(dataclasses.replace(run, train=train, paths=paths), group, folder, StopWish(), saves=False)
    began = time.perf_counter()
    trainer.train()
    return (time.perf_counter() - began) / 2


def look_at_machine(place: Place, run: RunConfig | None) -> list[Finding]:
    """What this process finds without the others."""
    kind, count = accelerators()
    needed = needed_bytes(run, place) if kind == "cpu" else 0.0
    looks = {
        "versions": lambda: machine.versions(versions()),
        "devices": lambda: machine.devices(kind, count, place, os.environ),
        "memory": lambda: machine.memory(needed),
        "compiler": lambda: machine.compilers(use_ops_cache(), probe.can_do_aio()),
        "MPI": lambda: machine.mpi(place),
        "SLURM": lambda: machine.slurm(os.environ, place),
    }
    first = place.local_rank == 0  # one process speaks for the things that its machine has once
    chosen = [name for name in looks if first or name in ("versions",)]
    return [finding for name in chosen for finding in examine(name, looks[name], "see the message")]


def _reports(folder: Path) -> list[dict[str, float | None]]:
    return [json.loads(line) for line in (folder / METRICS_FILE).read_text(encoding="utf-8").splitlines()]


def _name(place: Place) -> str:
    return f"rank {place.rank} on {platform.node()}" if place.world_size > 1 else ""


def _print(findings: list[tuple[str, Finding]]) -> None:
    for line in told(findings):
        print(line, flush=True)
