"""Which cores a process gets, on made-up machines; `runs/test_launchers.py` sees the real ones bound."""

from __future__ import annotations

import os
import subprocess
import sys
from math import inf
from pathlib import Path

import pytest

from uer_ds.engine.cores import BINDING, Share, cpu_list, physical_cores, ranges, share_of, threads_chosen


def machine(root: Path, nodes: int, cores: int, threads: int = 2, cache: int = 4) -> Path:
    """A machine of `nodes` sockets, each a NUMA node of `cores` cores, `cache` of which share a cache.

    Counted as Linux counts: the first hardware thread of every core, then the second of each.
    """
    every = nodes * cores
    for core in range(every):
        siblings = [core + every * thread for thread in range(threads)]
        group = core // cache * cache
        for cpu in siblings:
            folder = root / f"sys/devices/system/cpu/cpu{cpu}"
            for part in ("topology", "cache/index3", f"node{core // cores}"):
                (folder / part).mkdir(parents=True)
            (folder / "topology/physical_package_id").write_text(f"{core // cores}\n")
            (folder / "topology/thread_siblings_list").write_text(",".join(map(str, siblings)) + "\n")
            (folder / "cache/index3/shared_cpu_list").write_text(f"{group}-{group + cache - 1}\n")
    return root


def cpus(text: str) -> frozenset[int]:
    return cpu_list(text)


def shares(masks: list[frozenset[int]], cores: list[frozenset[int]], allowed: float = inf) -> list[Share]:
    return [share_of(position, masks, cores, allowed, {}) for position in range(len(masks))]


def test_processes_get_neighbouring_cores_with_both_their_threads(tmp_path: Path) -> None:
    whole = cpus("0-31")
    cores = physical_cores(whole, machine(tmp_path, nodes=2, cores=8))
    assert len(cores) == 16 and cores[0] == cpus("0,16")
    assert shares([whole] * 2, cores) == [Share(8, cpus("0-7,16-23")), Share(8, cpus("8-15,24-31"))]
    four = [Share(4, cpus(text)) for text in ("0-3,16-19", "4-7,20-23", "8-11,24-27", "12-15,28-31")]
    assert shares([whole] * 4, cores) == four


def test_neighbours_are_by_node_and_cache_and_not_by_number(tmp_path: Path) -> None:
    root = machine(tmp_path, nodes=1, cores=8, threads=1)
    for cpu in range(8):  # every second one on another node, as some firmware counts
        folder = root / f"sys/devices/system/cpu/cpu{cpu}"
        (folder / "node0").rename(folder / f"node{cpu % 2}")
    assert [min(core) for core in physical_cores(cpus("0-7"), root)] == [0, 2, 4, 6, 1, 3, 5, 7]
    for cpu in range(8):
        folder = root / f"sys/devices/system/cpu/cpu{cpu}"
        (folder / f"node{cpu % 2}").rename(folder / "node0")
        (folder / "cache/index3/shared_cpu_list").write_text("0-1,4-5\n" if cpu in (0, 1, 4, 5) else "2-3,6-7\n")
    assert [min(core) for core in physical_cores(cpus("0-7"), root)] == [0, 1, 4, 5, 2, 3, 6, 7]


@pytest.mark.parametrize("processes", [2, 3, 5, 7, 8])
def test_every_core_has_one_process(processes: int, tmp_path: Path) -> None:
    whole = cpus("0-31")
    cores = physical_cores(whole, machine(tmp_path, nodes=2, cores=8))
    every = shares([whole] * processes, cores)
    assert sorted(cpu for share in every for cpu in share.cpus or ()) == list(range(32))
    assert {share.threads for share in every} == {16 // processes}
    assert all(len(share.cpus or ()) >= 2 * share.threads for share in every)


def test_one_process_and_too_many_are_not_bound(tmp_path: Path) -> None:
    whole = cpus("0-7")
    cores = physical_cores(whole, machine(tmp_path, nodes=1, cores=4))
    assert shares([whole], cores) == [Share(4)]
    assert shares([whole] * 5, cores) == [Share(1)] * 5
    assert shares([whole] * 4, cores) == [Share(1)] * 4  # a core each is too few, see LEAST
    assert shares([whole] * 2, cores) == [Share(2, cpus("0-1,4-5")), Share(2, cpus("2-3,6-7"))]


def test_what_the_user_has_set_aside_is_shared(tmp_path: Path) -> None:
    """`taskset` around the launcher, or a container's set of processors."""
    machine(tmp_path, nodes=2, cores=8)
    half = cpus("4-7,20")
    cores = physical_cores(half, tmp_path)
    assert shares([half] * 2, cores) == [Share(2, cpus("4-5,20")), Share(2, cpus("6-7"))]


def test_what_a_launcher_has_bound_stays(tmp_path: Path) -> None:
    cores = physical_cores(cpus("0-31"), machine(tmp_path, nodes=2, cores=8))
    assert shares([cpus("0,16"), cpus("1,17")], cores) == [Share(1), Share(1)]
    sockets = [cpus("0-7,16-23")] * 2 + [cpus("8-15,24-31")] * 2
    assert shares(sockets, cores) == [Share(4)] * 4
    assert shares(sockets, cores, allowed=4) == [Share(1)] * 4  # a limit is that of all, wherever they are bound


@pytest.mark.parametrize("name", BINDING)
def test_the_user_s_word_counts(name: str) -> None:
    cores = [cpus(text) for text in "0123"]
    assert share_of(0, [cpus("0-3")] * 2, cores, inf, {name: "false"}) == Share(2)
    assert share_of(0, [cpus("0-3")] * 2, cores, inf, {"OMP_NUM_THREADS": "1", name: ""}) == Share(2, cpus("0-1"))


def test_a_limit_of_time_is_shared_as_threads(tmp_path: Path) -> None:
    whole = cpus("0-31")
    cores = physical_cores(whole, machine(tmp_path, nodes=2, cores=8))
    assert shares([whole] * 2, cores, allowed=4.5) == [Share(2)] * 2
    assert shares([whole], cores, allowed=0.5) == [Share(1)]
    assert shares([whole] * 2, cores, allowed=16)[1] == Share(8, cpus("8-15,24-31"))


def test_where_nothing_is_known_each_processor_is_a_core(tmp_path: Path) -> None:
    assert physical_cores(cpus("0-2"), tmp_path) == [cpus("0"), cpus("1"), cpus("2")]


@pytest.mark.parametrize("text", ["0", "3-5", "0-2,8", "0,2,4-7,16-23"])
def test_lists_are_read_and_written(text: str) -> None:
    assert ranges(cpu_list(text)) == text


@pytest.mark.parametrize("text", ["", "\n", "none", "1-x", "0,x"])
def test_no_list_is_empty(text: str) -> None:
    assert cpu_list(text) == frozenset()


def test_all_threads_move_and_children_follow() -> None:
    """In a process of its own, whose second thread was there before."""
    program = """
import os, subprocess, sys, threading
from uer_ds.engine import cores
wait = threading.Event()
threading.Thread(target=wait.wait).start()
cpu = max(os.sched_getaffinity(0))
cores._bind(frozenset({cpu}))
places = {frozenset(os.sched_getaffinity(int(thread))) for thread in os.listdir("/proc/self/task")}
child = subprocess.run([sys.executable, "-c", "import os; print(*os.sched_getaffinity(0))"], capture_output=True)
wait.set()
assert len(os.listdir("/proc/self/task")) > 1
assert places == {frozenset({cpu})} and int(child.stdout) == cpu
print(cores.threads_in_words())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    cpu = max(os.sched_getaffinity(0))
    assert os.cpu_count() == 1 or f" on CPU {cpu}" in done.stdout


def test_torchruns_habit_is_nobodys_choice() -> None:
    assert threads_chosen({"OMP_NUM_THREADS": "1"})
    assert not threads_chosen({})
    assert not threads_chosen({"OMP_NUM_THREADS": "1", "TORCHELASTIC_RUN_ID": "x"})
    assert threads_chosen({"OMP_NUM_THREADS": "2", "TORCHELASTIC_RUN_ID": "x"})
