"""Shards by several processes. A worker that fails, or is killed, fails the whole build; the others stop within one
block.

Workers are started afresh (never forked), load the tokenizers from the dataset's own copy, take the next shard when
they are done with one, and report bytes read through shared memory. When the main process is gone they stop too.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from uer_ds.data.manifest import ShardRecord, TokenizerRecord
from uer_ds.data.rows import Tokenizers
from uer_ds.data.shard_writer import ShardTask, write_shard
from uer_ds.data.team import Stopped
from uer_ds.errors import UserError

POLL_SECONDS = 0.2


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


@dataclass(frozen=True)
class Shared:
    """Memory that all processes see.

    Attributes:
        next_task: number of the next shard to take.
        read_bytes: bytes of the corpus read, one counter a shard, so that nobody waits for a lock.
        stop: not 0 once all work must end.
    """

    next_task: Any
    read_bytes: Any
    stop: Any


def write_in_workers(
    tasks: Sequence[ShardTask], tokenizers: SavedTokenizers, processes: int, advance: Callable[[int], None]
) -> list[ShardRecord]:
    """Make the shards by several workers; the first failure is raised when all have stopped.

    `advance` is told the bytes read, and may raise to end the work.
    """
    context = multiprocessing.get_context("spawn")
    read_bytes = context.Array("q", len(tasks), lock=False)
    shared = Shared(context.Value("q", 0), read_bytes, context.Value("b", 0, lock=False))
    workers: dict[Connection, SpawnProcess] = {}
    try:
        for _ in range(processes):
            ours, theirs = context.Pipe(duplex=False)
            arguments = (list(tasks), tokenizers, shared, os.getpid(), theirs)
            workers[ours] = context.Process(target=_work, args=arguments, daemon=True)
            workers[ours].start()
            theirs.close()  # so that the end of the worker is the end of its pipe
        records = _collect(workers, shared, advance)
    finally:
        shared.stop.value = 1
        for worker in workers.values():
            worker.join()
    return [records[number] for number in range(len(tasks))]


def _collect(
    workers: dict[Connection, SpawnProcess], shared: Shared, advance: Callable[[int], None]
) -> dict[int, ShardRecord]:
    """Task number -> record, once every worker has closed its pipe; raises the first failure."""
    records: dict[int, ShardRecord] = {}
    open_pipes = set(workers)
    told = 0
    while open_pipes:
        for pipe in wait(list(open_pipes), timeout=POLL_SECONDS):
            assert isinstance(pipe, Connection)
            try:
                number, result = pipe.recv()
            except EOFError:
                open_pipes.remove(pipe)
                _check_end(workers[pipe])
                continue
            if isinstance(result, BaseException):
                raise result
            records[number] = result
        now = sum(shared.read_bytes)
        advance(now - told)
        told = now
    return records


def _check_end(worker: SpawnProcess) -> None:
    worker.join()
    if worker.exitcode:
        raise WorkerDied(
            f"a worker process ended with status {worker.exitcode} before its shard was done (killed, or out of"
            " memory); run the same command again to go on, with a smaller --processes_num if memory was short."
        )


def _work(tasks: list[ShardTask], saved: SavedTokenizers, shared: Shared, parent: int, results: Connection) -> None:
    """A worker's life: take the next shard until there is none, send each record, or the exception that ended it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the main process, which stops us through `stop`
    number = -1
    try:
        tokenizers = saved.load()
        while (number := _take(shared)) < len(tasks):
            results.send((number, write_shard(tasks[number], tokenizers, _reporter(shared, number, parent))))
    except Stopped:
        pass
    except Exception as error:
        results.send((number, error))


def _take(shared: Shared) -> int:
    with shared.next_task.get_lock():
        number: int = shared.next_task.value
        shared.next_task.value += 1
    return number


def _reporter(shared: Shared, number: int, parent: int) -> Callable[[int], None]:
    def advance(count: int) -> None:
        if shared.stop.value or os.getppid() != parent:
            raise Stopped
        shared.read_bytes[number] += count

    return advance
