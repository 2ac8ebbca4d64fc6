"""Two hosts of the test's own: network namespaces joined by a cable (veth), each with its own address.

Nothing goes over loopback, and nobody says which interface to use. The cable is cut in mid-run: nothing is closed, no
packet comes any more, so that only silence can tell.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runs.conftest import ROOT, metrics, pretrain_options
from tests.runs.test_lost_ranks import endings, wait_for_updates
from uer_ds.launch.watch import PEER_LOST

UPDATES = 40
SILENCE_SECONDS = 4
NAMES = [f"uer{os.getpid()}{letter}" for letter in "ab"]
CABLE = [f"ve{os.getpid() % 10**6}{letter}" for letter in "ab"]


def ip(*words: str) -> str:
    """Run `ip`; returns its complaint, empty when it is content."""
    return subprocess.run(["ip", *words], capture_output=True, text=True).stderr.strip()


@pytest.fixture(scope="module")
def hosts() -> Iterator[list[str]]:
    """Two namespaces with the addresses 10.77.0.1 and 10.77.0.2."""
    if shutil.which("ip") is None:
        pytest.skip("no `ip` (Debian: apt-get install iproute2)")
    if complaint := ip("netns", "add", NAMES[0]):
        pytest.skip(f"network namespaces cannot be made here: {complaint}")
    try:
        assert not ip("netns", "add", NAMES[1])
        if complaint := ip("link", "add", CABLE[0], "type", "veth", "peer", "name", CABLE[1]):
            pytest.skip(f"no veth pair can be made here: {complaint}")
        for number, (name, end) in enumerate(zip(NAMES, CABLE, strict=True), 1):
            assert not ip("link", "set", end, "netns", name)
            assert not ip("-n", name, "addr", "add", f"10.77.0.{number}/24", "dev", end)
            assert not ip("-n", name, "link", "set", end, "up")
            assert not ip("-n", name, "link", "set", "lo", "up")
        yield NAMES
    finally:
        for name in NAMES:
            ip("netns", "del", name)


def start(hosts: list[str], port: int, words: list[str]) -> list[subprocess.Popen[str]]:
    ranks = []
    for rank, host in enumerate(hosts):
        environ = {**os.environ, "RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
        environ |= {"MASTER_ADDR": "10.77.0.1", "MASTER_PORT": str(port), "PYTHONPATH": str(ROOT)}
        environ.pop("GLOO_SOCKET_IFNAME", None)
        command = ["ip", "netns", "exec", host, sys.executable, "-u", "launch/pretrain.py", *words]
        pipe = subprocess.PIPE
        ranks.append(subprocess.Popen(command, cwd=ROOT, env=environ, stdout=pipe, stderr=pipe, text=True))
    return ranks


def test_a_host_that_is_cut_off_is_missed_in_time_and_the_run_goes_on(
    hosts: list[str], material: Path, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    words = pretrain_options(material, output, total_steps=UPDATES, ds_config="zero2", save_checkpoint_steps=5)
    words += ["--network_timeout_seconds", str(SILENCE_SECONDS)]
    ranks = start(hosts, 29641, words)
    wait_for_updates(output, 7, ranks)
    assert not ip("-n", hosts[1], "link", "set", CABLE[1], "down")
    cut = time.monotonic()
    (first, said), (second, answer) = endings(ranks, seconds=3 * SILENCE_SECONDS)
    assert time.monotonic() - cut > SILENCE_SECONDS - 1
    assert (first, second) == (PEER_LOST, PEER_LOST)
    for missing, text in ((1, said), (0, answer)):
        assert f"nothing was heard from rank {missing} on host " in text
        assert f"for {SILENCE_SECONDS} seconds (machine or network down)" in text
        assert text.count("uer-ds: ") == 1
        assert "Traceback" not in text

    assert not ip("-n", hosts[1], "link", "set", CABLE[1], "up")
    after = endings(start(hosts, 29642, words), seconds=120)
    assert [status for status, _ in after] == [0, 0], after
    assert [report["update"] for report in metrics(output)] == list(range(1, UPDATES + 1))
