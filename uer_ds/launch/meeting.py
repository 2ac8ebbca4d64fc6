"""The meeting before a run: every rank links itself to rank 0, which checks that each came once and that all came.

Only who knows the run's token is heard. Numbers that do not fit (two processes with one RANK, another WORLD_SIZE) end
the meeting at once, with one sentence for all. A connection on which nothing is said keeps nobody waiting.
"""

from __future__ import annotations

import contextlib
import socket
import time
from typing import Any

from uer_ds.errors import UserError
from uer_ds.launch.watch import Link, Watch, say_on_stderr, select_readable, spans

HELLO_REMINDER_SECONDS = 30.0


def open_hub(
    listener: socket.socket, world_size: int, host: str, token: str, timeout_seconds: float, meeting_seconds: float
) -> Watch:
    """Rank 0's watch: waits until all others have come.

    Raises UserError, here and in those who came, that names the missing ones, or two that cannot both be right.
    """
    meeting = _Meeting(world_size, host, token)
    try:
        _gather(meeting, listener, timeout_seconds, meeting_seconds)
    except UserError as mistake:
        meeting.tell({"refused": str(mistake)})
        raise
    finally:
        listener.close()
        for link in meeting.strangers:
            link.connection.close()
    names = [meeting.hosts[rank] for rank in range(world_size)]
    meeting.tell({"hosts": names})
    return Watch(0, names, list(meeting.links.values()), timeout_seconds)


class _Meeting:
    """Who has come so far; `strangers` have not said who they are."""

    def __init__(self, world_size: int, host: str, token: str):
        self.world_size, self.token = world_size, token
        self.hosts = {0: host}
        self.links: dict[int, Link] = {}
        self.strangers: list[Link] = []

    def tell(self, message: dict[str, Any]) -> None:
        """Say `message` to everybody who has come."""
        for link in self.links.values():
            link.tell(message)

    def listen(self, link: Link) -> None:
        """A stranger speaks: it becomes a rank, or is sent away. Raises UserError when its numbers do not fit."""
        try:
            messages = link.hear()
        except ValueError:  # no JSON: somebody who looks for open ports
            messages = [{}]
        if not messages and not link.reason:
            return
        self.strangers.remove(link)
        hello = messages[0] if messages else {}
        if not isinstance(hello, dict) or hello.get("token") != self.token:
            link.connection.close()
            return
        try:
            self._check(hello)
        except UserError as mistake:
            link.tell({"refused": str(mistake)})
            raise
        link.rank = hello["rank"]
        self.hosts[link.rank], self.links[link.rank] = hello["host"], link

    def miss(self, link: Link) -> None:
        """A rank has left again, before all had come: somebody may start it anew, so its place is free."""
        link.connection.close()
        del self.hosts[link.rank], self.links[link.rank]

    def _check(self, hello: dict[str, Any]) -> None:
        rank, size, host = hello["rank"], hello["world_size"], hello["host"]
        if size != self.world_size or not 0 < rank < size:
            raise UserError(
                f"rank {rank} of {size} on host {host} came to a run of {self.world_size} processes, whose rank 0 is "
                f"on host {self.hosts[0]}; start all with the same WORLD_SIZE, and each with a RANK below it."
            )
        if rank in self.links and not self.links[rank].gone():
            raise UserError(
                f"rank {rank} has come twice, from host {self.hosts[rank]} and from host {host}; give every process a "
                "RANK of its own."
            )


def _gather(meeting: _Meeting, listener: socket.socket, timeout_seconds: float, meeting_seconds: float) -> None:
    began, reminder = time.monotonic(), HELLO_REMINDER_SECONDS
    while True:
        for link in select_readable([*meeting.links.values()], 0):  # ranks say nothing until all have come: it has left
            meeting.miss(link)
        if len(meeting.hosts) == meeting.world_size:
            return
        waited = time.monotonic() - began
        missing = spans([rank for rank in range(meeting.world_size) if rank not in meeting.hosts])
        if waited > meeting_seconds:
            raise UserError(
                f"of {meeting.world_size} processes, {len(meeting.hosts)} have come within {meeting_seconds:g} seconds;"
                f" missing: rank {missing}. Look at the logs of those, and check that their machines reach this one "
                f"({meeting.hosts[0]})."
            )
        if waited > reminder:
            say_on_stderr(f"uer-ds: waiting for rank {missing} of {meeting.world_size} ({waited:.0f} seconds)")
            reminder *= 2
        for ready in select_readable([listener, *meeting.strangers], 0.2):
            if ready is listener:
                with contextlib.suppress(OSError):  # gone before it was welcomed
                    meeting.strangers.append(Link(listener.accept()[0], 0, timeout_seconds))
            else:
                meeting.listen(ready)


def open_spoke(
    address: tuple[str, int],
    rank: int,
    world_size: int,
    host: str,
    token: str,
    timeout_seconds: float,
    meeting_seconds: float,
) -> Watch:
    """The watch of another rank, linked to rank 0 at `address`. Raises UserError when it does not answer or refuses."""
    try:
        link = Link(socket.create_connection(address, timeout=timeout_seconds), 0, timeout_seconds)
        link.tell({"rank": rank, "world_size": world_size, "host": host, "token": token})
        link.connection.settimeout(meeting_seconds + HELLO_REMINDER_SECONDS)
        messages: list[dict[str, Any]] = []
        while not messages and not link.reason:
            messages = link.hear()
        if not messages:
            raise OSError("it ended before all processes had come")
    except OSError as error:
        raise UserError(
            f"rank {rank} on host {host} cannot keep a connection to rank 0 at {address[0]}:{address[1]} ({error}); "
            "see rank 0's log, and let the machines reach each other on all ports above 1023."
        ) from error
    if "refused" in messages[0]:
        link.connection.close()
        raise UserError(messages[0]["refused"])
    link.connection.settimeout(None)
    return Watch(rank, messages[0]["hosts"], [link], timeout_seconds)
