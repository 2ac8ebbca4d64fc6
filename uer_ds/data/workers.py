"""Shards by several processes. A worker that fails, or is killed, fails the whole build; the others stop within one
block.

The calling process works too, from the first moment. Its helpers are forked by a server process that was started
afresh, so that they inherit neither threads nor locks nor MPI; the server loads the compiled code and the tables once
for all of them (`uer_ds.data.preload`). Everybody takes the next shard when done with one and reports bytes read
through shared memory. When the calling process is gone the helpers end too, and their server with them.
"""

from __future__ import annotations

import contextlib
import fcntl
import multiprocessing
import multiprocessing.forkserver
import os
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import IO, Any

from uer_ds.data.manifest import ShardRecord, TokenizerRecord
from uer_ds.data.rows import Tokenizers
from uer_ds.data.shard_writer import ShardTask, write_shard
from uer_ds.data.team import Stopped
from uer_ds.errors import UserError

POLL_SECONDS = 0.2
PRELOAD = "uer_ds.data.preload"


class WorkerDied(UserError):
    """A worker was killed from outside; what is finished stays good."""


@dataclass(frozen=True)
class SavedTokenizers:
    """Tokenizers that lie in a dataset folder; every process loads its own."""

    folder: Path
    source: TokenizerRecord
    target: TokenizerRecord | None

    def load(self) -> Tokenizers:
        from uer_ds.tokenizers import load_saved_tokenizer

        def load(record: TokenizerRecord) -> Any:
            return load_saved_tokenizer(self.folder / record.folder, record.description)

        return Tokenizers(load(self.source), load(self.target) if self.target else None)


class Turns:
    """Numbers from 0, each given once, to whatever process asks.

    The next one stands in an unnamed file with a lock of the system: unlike multiprocessing's locks nothing of it is
    left behind when its processes are killed.
    """

    def __init__(self, descriptor: int | None = None):
        self._file: IO[bytes] = tempfile.TemporaryFile() if descriptor is None else os.fdopen(descriptor, "r+b")

    def __reduce__(self) -> tuple[Any, tuple[Any]]:
        return _turns_of, (DupFd(self._file.fileno()),)

    def take(self) -> int:
        """The next number."""
        descriptor = self._file.fileno()
        fcntl.lockf(descriptor, fcntl.LOCK_EX)
        try:
            number = int.from_bytes(os.pread(descriptor, 8, 0), "little")
            os.pwrite(descriptor, (number + 1).to_bytes(8, "little"), 0)
        finally:
            fcntl.lockf(descriptor, fcntl.LOCK_UN)
        return number


def _turns_of(descriptor: Any) -> Turns:
    return Turns(descriptor.detach())


@dataclass(frozen=True)
class Shared:
    """What all processes see.

    Attributes:
        turns: numbers of the shards to make.
        read_bytes: bytes of the corpus read, one counter a shard, so that nobody waits for a lock.
        stop: not 0 once all work must end.
    """

    turns: Turns
    read_bytes: Any
    stop: Any


def prepare() -> None:
    """Start the server that helpers are forked from; it gets ready (most of a second) while the caller goes on."""
    multiprocessing.set_forkserver_preload([PRELOAD])
    multiprocessing.forkserver.ensure_running()


def write_in_workers(
    tasks: Sequence[ShardTask],
    tokenizers: Tokenizers,
    saved: SavedTokenizers,
    processes: int,
    advance: Callable[[int], None],
) -> list[ShardRecord]:
    """Make the shards by this process and `processes` - 1 helpers; the first failure is raised when all have stopped.

    `advance` is told the bytes read, and may raise to end the work.
    """
    helpers = Helpers(tasks, saved, processes - 1, advance)
    try:
        helpers.start()
        while (number := helpers.shared.turns.take()) < len(tasks):
            helpers.records[number] = write_shard(tasks[number], tokenizers, helpers.reporter(number))
        while helpers.open_pipes:
            helpers.look(POLL_SECONDS)
        helpers.look(0)  # at what this process has read since it last told
    finally:
        helpers.stop()
    return [helpers.records[number] for number in range(len(tasks))]


class Helpers:
    """The helpers of one build, seen from the calling process.

    Attributes:
        shared: what all processes see.
        records: task number -> record, as far as finished.
        open_pipes: those of helpers that are still at work.
    """

    def __init__(self, tasks: Sequence[ShardTask], saved: SavedTokenizers, count: int, advance: Callable[[int], None]):
        self._context = multiprocessing.get_context("forkserver")
        read_bytes = self._context.Array("q", len(tasks), lock=False)
        self.shared = Shared(Turns(), read_bytes, self._context.Value("b", 0, lock=False))
        self.records: dict[int, ShardRecord] = {}
        self.open_pipes: set[Connection] = set()
        self._tasks, self._saved, self._count, self._advance = tasks, saved, count, advance
        self._processes: dict[Connection, ForkServerProcess] = {}
        self._told, self._looked = 0, time.monotonic()

    def start(self) -> None:
        """Start them all."""
        prepare()
        for _ in range(self._count):
            ours, theirs = self._context.Pipe(duplex=False)
            arguments = (list(self._tasks), self._saved, self.shared, theirs)
            self._processes[ours] = self._context.Process(target=_help, args=arguments, daemon=True)
            self._processes[ours].start()
            self.open_pipes.add(ours)
            theirs.close()  # so that the end of the helper is the end of its pipe

    def reporter(self, number: int) -> Callable[[int], None]:
        """What the calling process's own work on a task tells its progress."""

        def advance(count: int) -> None:
            self.shared.read_bytes[number] += count
            if time.monotonic() - self._looked > POLL_SECONDS:
                self.look(0)

        return advance

    def look(self, timeout: float) -> None:
        """Take in what has been finished, tell the progress, raise the first failure; waits up to `timeout` seconds."""
        for pipe in wait(list(self.open_pipes), timeout=timeout):
            assert isinstance(pipe, Connection)
            try:
                number, result = pipe.recv()
            except EOFError:
                self.open_pipes.remove(pipe)
                _check_end(self._processes[pipe])
                continue
            if isinstance(result, BaseException):
                raise result
            self.records[number] = result
        now = sum(self.shared.read_bytes)
        self._advance(now - self._told)
        self._told, self._looked = now, time.monotonic()

    def stop(self) -> None:
        """End all that are still at work, and wait for them."""
        self.shared.stop.value = 1
        for process in self._processes.values():
            process.join()


def _check_end(worker: ForkServerProcess) -> None:
    worker.join()
    if worker.exitcode:
        raise WorkerDied(
            f"a worker process ended with status {worker.exitcode} before its shard was done (killed, or out of"
            " memory); run the same command again to go on, with a smaller --processes_num if memory was short."
        )


def _help(tasks: list[ShardTask], saved: SavedTokenizers, shared: Shared, results: Connection) -> None:
    """A helper's life: take the next shard until there is none, send each record, or the exception that ended it."""
    for number in (signal.SIGINT, signal.SIGTERM):  # they reach the calling process, which stops us through `stop`
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(Stopped, BrokenPipeError):  # the latter: the calling process has been killed
        _work(tasks, saved, shared, results)


def _work(tasks: list[ShardTask], saved: SavedTokenizers, shared: Shared, results: Connection) -> None:
    task = -1
    try:
        tokenizers = saved.load()
        while (task := shared.turns.take()) < len(tasks):
            results.send((task, write_shard(tasks[task], tokenizers, _reporter(shared, task))))
    except (Stopped, BrokenPipeError):
        raise
    except Exception as error:
        results.send((task, error))


def _reporter(shared: Shared, number: int) -> Callable[[int], None]:
    builder = multiprocessing.parent_process()
    assert builder is not None

    def advance(count: int) -> None:
        if shared.stop.value or not builder.is_alive():
            raise Stopped
        shared.read_bytes[number] += count

    return advance
