"""Limits of jobs and containers, on made-up systems."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from pathlib import Path

import pytest

from uer_ds.engine.job_limits import cores_allowed, memory_left

System = Callable[[dict[str, str]], Path]


@pytest.fixture
def system(tmp_path: Path) -> System:
    """Write files, by their paths under the root; returns the root."""

    def write(files: dict[str, str]) -> Path:
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(f"{text}\n")
        return tmp_path

    return write


def test_another_system_has_no_limits(tmp_path: Path) -> None:
    assert (memory_left(tmp_path), cores_allowed(tmp_path)) == (inf, inf)


def test_the_narrowest_group_holds(system: System) -> None:
    job = "sys/fs/cgroup/slurm/job_1"
    root = system(
        {
            "proc/self/cgroup": "0::/slurm/job_1",
            f"{job}/memory.max": "max",
            f"{job}/memory.current": "5",
            f"{job}/cpu.max": "max 100000",
        }
    )
    assert (memory_left(root), cores_allowed(root)) == (inf, inf)
    system({"sys/fs/cgroup/slurm/memory.max": "1000", "sys/fs/cgroup/slurm/memory.current": "400"})
    system({"sys/fs/cgroup/slurm/cpu.max": "250000 100000"})
    assert (memory_left(root), cores_allowed(root)) == (600, 2.5)
    system({f"{job}/memory.max": "7", f"{job}/cpu.max": "50000 100000"})
    assert (memory_left(root), cores_allowed(root)) == (2, 0.5)
    system({f"{job}/memory.current": "9"})
    assert memory_left(root) == 0
    system({f"{job}/memory.stat": "anon 4\nactive_file 1\ninactive_file 5"})
    assert memory_left(root) == 3  # what was only read from files can go


def test_a_container_sees_its_own_group_as_the_root(system: System) -> None:
    root = system({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "400000 100000"})
    assert cores_allowed(root) == 4


def test_version_1_has_a_tree_for_each_controller(system: System) -> None:
    memory, cpu = "sys/fs/cgroup/memory/job", "sys/fs/cgroup/cpu,cpuacct/job"
    root = system(
        {
            "proc/self/cgroup": "9:name=systemd:/job\n4:memory:/job\n3:cpuset:/\n1:cpu,cpuacct:/job\n0::/",
            f"{memory}/memory.limit_in_bytes": "9223372036854771712",
            f"{memory}/memory.usage_in_bytes": "100",
            f"{cpu}/cpu.cfs_quota_us": "-1",
            f"{cpu}/cpu.cfs_period_us": "100000",
        }
    )
    assert (memory_left(root), cores_allowed(root)) == (inf, inf)
    system({f"{memory}/memory.limit_in_bytes": "4096", f"{cpu}/cpu.cfs_quota_us": "150000"})
    assert (memory_left(root), cores_allowed(root)) == (3996, 1.5)


def test_version_1_under_another_order_of_names(system: System) -> None:
    quota = {"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "200000"}
    root = system({"proc/self/cgroup": "1:cpuacct,cpu:/", **quota})
    system({"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000"})
    (root / "sys/fs/cgroup/cpu").symlink_to("cpu,cpuacct")
    assert cores_allowed(root) == 2


def test_nonsense_is_no_limit(system: System) -> None:
    root = system({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "lots", "sys/fs/cgroup/memory.max": "many"})
    assert (memory_left(root), cores_allowed(root)) == (inf, inf)
