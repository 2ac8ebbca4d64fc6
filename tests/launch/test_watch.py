"""The watch: several ranks in one process, over real sockets on loopback."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from uer_ds.errors import UserError
from uer_ds.launch import meeting, watch
from uer_ds.launch.meeting import open_hub, open_spoke
from uer_ds.launch.watch import PEER_LOST, Watch, spans

ROOT = Path(__file__).resolve().parents[2]


RANK = """
import sys, time
from uer_ds.launch.meeting import open_spoke
rank, size, port = map(int, sys.argv[1:4])
watch = open_spoke(("127.0.0.1", port), rank, size, sys.argv[4], "secret", 6.0, 20.0)
time.sleep(60)
"""
RANK_0 = """
import socket, sys, time
from uer_ds.launch.meeting import open_hub
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
watch = open_hub(listener, int(sys.argv[2]), sys.argv[4], "secret", 6.0, 20.0)
time.sleep(60)
"""


@pytest.fixture(autouse=True)
def ends(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Statuses with which a watch wanted to end this process: a test that fails must not take pytest with it."""
    statuses: list[int] = []
    monkeypatch.setattr(watch, "end_process", statuses.append)
    return statuses


class Crowd:
    """`hosts[rank]` is the machine of each rank; what every rank said, and with which status it ended.

    The `doomed` ranks are processes of their own, which can be killed; the others live in this one.
    """

    def __init__(self, hosts: list[str], doomed: Collection[int] = ()):
        self.said: dict[int, str] = {}
        self.ended: dict[int, int] = {}
        self.doomed: dict[int, subprocess.Popen[str]] = {}
        size = len(hosts)
        with ThreadPoolExecutor(size) as pool:
            futures = {}
            if 0 in doomed:
                self.start(0, size, 0, hosts[0])
                assert self.doomed[0].stdout
                port = int(self.doomed[0].stdout.readline())
            else:
                listener = socket.create_server(("127.0.0.1", 0))
                port = listener.getsockname()[1]
                futures[0] = pool.submit(open_hub, listener, size, hosts[0], "secret", 6.0, 20.0)
            for rank in range(1, size):
                if rank in doomed:
                    self.start(rank, size, port, hosts[rank])
                else:
                    address = ("127.0.0.1", port)
                    futures[rank] = pool.submit(open_spoke, address, rank, size, hosts[rank], "secret", 6.0, 20.0)
            self.watches: dict[int, Watch] = {rank: future.result() for rank, future in futures.items()}
        for rank, each in self.watches.items():
            each._say = lambda text, rank=rank: self.said.__setitem__(rank, text)
            each._end = lambda status, rank=rank: self.ended.__setitem__(rank, status)

    def start(self, rank: int, size: int, port: int, host: str) -> None:
        words = [sys.executable, "-c", RANK if rank else RANK_0, str(rank), str(size), str(port), host]
        environ = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.doomed[rank] = subprocess.Popen(words, env=environ, stdout=subprocess.PIPE, text=True)

    def die(self, *ranks: int) -> None:
        """Kill the processes of `ranks`."""
        for rank in ranks:
            self.doomed[rank].kill()
        for rank in ranks:
            self.doomed[rank].communicate()

    def wait(self, ended: int) -> None:
        deadline = time.monotonic() + 10
        while len(self.ended) < ended and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.1)


def test_the_dead_are_named_by_machine_and_one_rank_of_each_machine_speaks() -> None:
    crowd = Crowd(["a", "a", "b", "b", "c", "c"], doomed=(2, 3, 4))
    crowd.die(2, 3, 4)
    crowd.wait(3)
    assert crowd.ended == {0: PEER_LOST, 1: PEER_LOST, 5: PEER_LOST}
    assert set(crowd.said) == {0, 5}
    assert "ranks 2-3 on host b, rank 4 on host c died without a word" in crowd.said[0]
    assert crowd.said[0] == crowd.said[5]


def test_rank_0_is_missed_by_everybody() -> None:
    crowd = Crowd(["a", "a", "b"], doomed=[0])
    crowd.die(0)
    crowd.wait(2)
    assert crowd.ended == {1: PEER_LOST, 2: PEER_LOST}
    assert all("rank 0 on host a died" in text for text in crowd.said.values())
    assert set(crowd.said) == {1, 2}


def test_a_failure_is_told_to_those_who_do_not_meet_it_themselves() -> None:
    crowd = Crowd(["a", "a", "b", "b"])
    crowd.watches[3].fail(2, "no such file.")
    crowd.wait(3)
    assert crowd.ended == {0: 2, 1: 2, 2: 2}
    assert crowd.said == {0: "uer-ds: rank 3 on host b: no such file.", 2: "uer-ds: rank 3 on host b: no such file."}


def test_a_failure_of_all_is_left_to_each() -> None:
    crowd = Crowd(["a", "a", "a"])
    threads = [threading.Thread(target=watch.fail, args=(2, "no such file.")) for watch in crowd.watches.values()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert crowd.ended == {}


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 0, 2]])
def test_a_good_end_in_any_order_is_silent(order: list[int]) -> None:
    crowd = Crowd(["a", "b", "b"])
    for rank in order:
        crowd.watches[rank].close()
    time.sleep(watch.GATHER_SECONDS + 0.2)
    assert (crowd.ended, crowd.said) == ({}, {})


def test_an_error_waits_for_its_reason() -> None:
    crowd = Crowd(["a", "b"], doomed=[1])
    began = time.monotonic()
    threading.Timer(0.2, crowd.die, [1]).start()
    crowd.watches[0].settle()
    assert 0.2 < time.monotonic() - began < watch.SETTLE_SECONDS
    assert crowd.ended[0] == PEER_LOST


def test_who_does_not_come_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    monkeypatch.setattr(meeting, "HELLO_REMINDER_SECONDS", 0.1)
    reminders: list[str] = []
    monkeypatch.setattr(meeting, "say_on_stderr", reminders.append)
    with pytest.raises(UserError, match=r"of 4 processes, 1 have come within 0\.5 seconds; missing: rank 1-3"):
        open_hub(listener, 4, "a", "secret", 6.0, 0.5)
    assert "waiting for rank 1-3 of 4" in reminders[0]


def test_a_stranger_is_sent_away() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    address = listener.getsockname()
    with ThreadPoolExecutor(3) as pool:
        scanner = socket.create_connection(address)
        scanner.sendall(b"GET / HTTP/1.0\n\n")
        hub = pool.submit(open_hub, listener, 2, "a", "secret", 6.0, 20.0)
        with pytest.raises(UserError, match="cannot keep a connection to rank 0"):
            open_spoke(address, 1, 2, "x", "guess", 6.0, 20.0)
        spoke = pool.submit(open_spoke, address, 1, 2, "b", "secret", 6.0, 20.0).result()
        assert hub.result().hosts == spoke.hosts == ["a", "b"]
        spoke.close()
        hub.result().close()


def test_who_says_nothing_keeps_nobody_waiting() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    address = listener.getsockname()
    silent = [socket.create_connection(address) for _ in range(3)]
    began = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        hub = pool.submit(open_hub, listener, 2, "a", "secret", 6.0, 20.0)
        pool.submit(open_spoke, address, 1, 2, "b", "secret", 6.0, 20.0).result().close()
        hub.result().close()
    assert time.monotonic() - began < 5
    assert [connection.recv(1) for connection in silent] == [b"", b"", b""]


@pytest.mark.parametrize(
    ("rank", "size", "words"),
    [
        (1, 3, "rank 1 has come twice, from host b and from host c; give every process a RANK of its own"),
        (3, 3, "rank 3 of 3 on host c came to a run of 3 processes, whose rank 0 is on host a"),
        (2, 4, "rank 2 of 4 on host c came to a run of 3 processes, whose rank 0 is on host a"),
    ],
)
def test_numbers_that_do_not_fit_end_the_meeting_for_all(rank: int, size: int, words: str) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    address = listener.getsockname()
    with ThreadPoolExecutor(3) as pool:
        hub = pool.submit(open_hub, listener, 3, "a", "secret", 6.0, 20.0)
        first = pool.submit(open_spoke, address, 1, 3, "b", "secret", 6.0, 20.0)
        time.sleep(0.3)  # the other one comes later
        second = pool.submit(open_spoke, address, rank, size, "c", "secret", 6.0, 20.0)
        for future in (hub, first, second):
            with pytest.raises(UserError) as caught:
                future.result()
            assert words in str(caught.value)


@pytest.mark.parametrize("order", [[1, 2], [2, 1]])
def test_a_rank_that_was_started_again_may_come_again(order: list[int]) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    address = listener.getsockname()
    with ThreadPoolExecutor(3) as pool:
        hub = pool.submit(open_hub, listener, 3, "a", "secret", 6.0, 20.0)
        with socket.create_connection(address) as dead:
            dead.sendall(json.dumps({"rank": 1, "world_size": 3, "host": "b", "token": "secret"}).encode() + b"\n")
            time.sleep(0.3)  # it is a rank by now
        spokes = []
        for rank in order:  # also when the last of the others comes first
            spokes.append(pool.submit(open_spoke, address, rank, 3, "c", "secret", 6.0, 20.0))
            time.sleep(0.3)
        watches = [future.result() for future in (*spokes, hub)]
        assert watches[-1].hosts == ["a", "c", "c"]
        for each in watches:
            each.close()


@pytest.mark.parametrize(("numbers", "text"), [([], ""), ([3], "3"), ([0, 1, 2, 5], "0-2, 5"), ([1, 3], "1, 3")])
def test_spans(numbers: list[int], text: str) -> None:
    assert spans(numbers) == text
