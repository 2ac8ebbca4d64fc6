"""`Watch`: notices that a process of the run is gone, while the main thread hangs in a collective.

Every rank keeps one idle TCP connection to rank 0, and a thread that listens to it. A dead process's connection is
closed by its kernel at once; a machine that is cut off does not answer the kernel's keep-alive probes. No process has
to send anything itself, so that compiling, saving or holding Python's lock for minutes raises no false alarm, and a
run of a thousand ranks costs rank 0 a thousand sleeping sockets. What the star cannot see: two machines that reach
rank 0 but not each other; the collectives' own timeout ends those.

Whoever learns that somebody is missing says so in one sentence and ends with status `PEER_LOST`. A rank that fails by
itself tells the others why, so that its sentence is said on every machine.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import socket
import sys
import threading
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any

PEER_LOST = 69
"""Exit status of those whose peer is gone (EX_UNAVAILABLE of sysexits.h): the same command goes on."""

GATHER_SECONDS = 0.5
"""The ranks of a machine die a moment after each other; they are named together."""

GRACE_SECONDS = 1.0
"""All ranks often meet the same mistake; so long one that was told of it may take to say it itself."""

SETTLE_SECONDS = 3.0
"""A broken collective may be the first sign of a dead peer; so long the main thread waits for the reason."""


SILENCE = {errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTDOWN}

RESUME = "The same command goes on from the newest checkpoint."


class Link:
    """One connection, speaking lines of JSON."""

    def __init__(self, connection: socket.socket, rank: int, timeout_seconds: float):
        self.connection, self.rank = connection, rank
        self.reason = ""
        """Why it ended: "" while it is open, "died" or "silent"."""
        self._buffer = b""
        keep_alive(connection, timeout_seconds)

    def fileno(self) -> int:
        """For `select`."""
        return self.connection.fileno()

    def tell(self, message: dict[str, Any]) -> None:
        """Send a message, if there is still somebody."""
        with contextlib.suppress(OSError):
            self.connection.sendall(json.dumps(message).encode() + b"\n")

    def gone(self) -> bool:
        """Whether the other side has ended; only for a link on which nothing is said."""
        return bool(self.reason or (select_readable([self], 0) and not self.hear() and self.reason))

    def hear(self) -> list[dict[str, Any]]:
        """Messages that have come; sets `reason` when the connection has ended."""
        try:
            data = self.connection.recv(65536)
            self.reason = "" if data else "died"
        except OSError as error:
            data, self.reason = b"", "silent" if error.errno in SILENCE else "died"
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        return [json.loads(line) for line in lines]


def keep_alive(connection: socket.socket, timeout_seconds: float) -> None:
    """Let the kernel probe an idle connection, and break it when nothing has come back for `timeout_seconds`."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.settimeout(None)
    pause = max(1, round(timeout_seconds / 6))
    for name, value in (  # Linux has all of them, other systems some
        ("TCP_KEEPIDLE", max(1, round(timeout_seconds / 3))),
        ("TCP_KEEPINTVL", pause),
        ("TCP_KEEPCNT", 4),
        ("TCP_USER_TIMEOUT", round(1000 * timeout_seconds)),
    ):
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


class Watch:
    """The watch of one rank. Made in `launch.meeting`; all ranks are linked then.

    Args:
        rank: this process.
        hosts: machine of every rank, as messages name it.
        links: to every other rank (rank 0), or to rank 0.
        timeout_seconds: silence after which a machine counts as lost.
        end: leaves the process with a status, whatever the main thread does.
        say: says a sentence to the user.
    """

    def __init__(
        self,
        rank: int,
        hosts: Sequence[str],
        links: Sequence[Link],
        timeout_seconds: float,
        end: Callable[[int], None] | None = None,
        say: Callable[[str], None] | None = None,
    ):
        self.rank, self.hosts, self.timeout_seconds = rank, hosts, timeout_seconds
        self._links = {link.rank: link for link in links}
        self._end, self._say = end or end_process, say or say_on_stderr
        self._leaving = threading.Event()
        self._wake, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._listen, name="watch", daemon=True)
        self._thread.start()

    # -- for the main thread -------------------------------------------------------------------------------------------

    def close(self) -> None:
        """The run is over here: this rank leaves in good order."""
        self._leave({"bye": True})

    def fail(self, status: int, sentence: str) -> None:
        """This rank ends with an error: tell the others, who cannot go on without it."""
        self._leave({"failed": [self.rank], "status": status, "sentence": f"{self.name([self.rank])}: {sentence}"})

    def settle(self) -> None:
        """Wait a moment for news: an error here may be the echo of a peer's end. Does not return if there is any."""
        self._thread.join(SETTLE_SECONDS)

    def name(self, ranks: Collection[int]) -> str:
        """ "rank 1 on host n2", "ranks 8-15 on host n2, rank 16 on host n3"."""
        by_host: dict[str, list[int]] = {}
        for rank in sorted(ranks):
            by_host.setdefault(self.hosts[rank], []).append(rank)
        return ", ".join(f"rank{'s' * (len(them) > 1)} {spans(them)} on host {h}" for h, them in by_host.items())

    def _leave(self, message: dict[str, Any]) -> None:
        self._leaving.set()
        for link in list(self._links.values()):
            link.tell(message)
        self._wake.close()
        self._thread.join(GATHER_SECONDS + SETTLE_SECONDS)
        for link in self._links.values():
            with contextlib.suppress(OSError):  # no close: unread words of a peer would make it a reset
                link.connection.shutdown(socket.SHUT_WR)

    # -- the listening thread ------------------------------------------------------------------------------------------

    def _listen(self) -> None:
        lost: dict[int, str] = {}
        until: float | None = None
        while self._links or lost:
            wait = None if until is None else max(0.0, until - time.monotonic())
            ready = select_readable([self._woken, *self._links.values()], wait)
            if self._woken in ready:
                return
            for link in ready:
                if not self._heard(link):
                    return
                if link.reason and link.rank in self._links:
                    lost[link.rank] = link.reason
                    del self._links[link.rank]
                    until = until or time.monotonic() + (GATHER_SECONDS if self.rank == 0 else 0)
            if until is not None and time.monotonic() >= until:
                return self._stop_all(lost)

    def _heard(self, link: Link) -> bool:
        """Act on what a peer said; False when the watch is over."""
        for message in link.hear():
            if message.get("bye"):
                del self._links[link.rank]
                return self.rank == 0
            for other in self._links.values():
                if other is not link:
                    other.tell(message)
            self._obey(message)
            return False
        return True

    def _stop_all(self, lost: dict[int, str]) -> None:
        """Somebody is gone: the others cannot go on."""
        parts, seconds = [], f"{self.timeout_seconds:g} seconds"
        silent = [rank for rank, reason in lost.items() if reason == "silent"]
        died = [rank for rank, reason in lost.items() if reason == "died"]
        if died:
            parts.append(f"{self.name(died)} died without a word (killed, crashed, or out of memory: see its log)")
        if silent:
            parts.append(f"nothing was heard from {self.name(silent)} for {seconds} (machine or network down)")
        message = {"failed": list(lost), "status": PEER_LOST, "sentence": f"{'; '.join(parts)}. {RESUME}"}
        for link in self._links.values():
            link.tell(message)
        self._obey(message)

    def _obey(self, message: dict[str, Any]) -> None:
        if self._leaving.wait(0 if message["status"] == PEER_LOST else GRACE_SECONDS):
            return
        here = [rank for rank, host in enumerate(self.hosts) if host == self.hosts[self.rank]]
        if self.rank == min(set(here) - set(message["failed"])):  # one voice on each machine
            self._say(f"uer-ds: {message['sentence']}")
        self._end(message["status"])


def select_readable(things: Sequence[Any], wait: float | None) -> list[Any]:
    """Those of `things` that can be read, within `wait` seconds (None: whenever); any number of descriptors."""
    poll = select.poll()
    by_number = {thing.fileno(): thing for thing in things}
    for number in by_number:
        poll.register(number, select.POLLIN)
    return [by_number[number] for number, _ in poll.poll(None if wait is None else 1000 * wait)]


def spans(numbers: Sequence[int]) -> str:
    """Ascending numbers in short: [0, 1, 2, 5] -> "0-2, 5"."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def say_on_stderr(sentence: str) -> None:
    """Past Python's buffers, whose lock the main thread may hold."""
    with contextlib.suppress(OSError):
        os.write(2, f"{sentence}\n".encode())


def end_process(status: int) -> None:
    """Leave at once: the main thread may hang in a collective for ever."""
    flush = threading.Thread(target=sys.stdout.flush, daemon=True)
    flush.start()
    flush.join(1.0)
    os._exit(status)
