"""`uer-ds submit --hostfile` to its end: hosts are asked, `deepspeed` starts the ranks by pdsh and ssh.

Both are stand-ins that run everything on this machine; deepspeed's launcher and the ranks are real.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.runs.conftest import BIN, Run, metrics, pretrain_options
from uer_ds.launch.address import free_port

SSH = """#!/bin/bash
while [ "${1:0:1}" = - ]; do [ "$1" = -o ] && shift; shift; done
[ "$1" = lost ] && { echo "ssh: connect to host lost port 22: No route to host" >&2; exit 255; }
shift
[ "$*" = "hostname -I" ] && { echo 127.0.0.1; exit 0; }
exec bash -c "$*"
"""
PDSH = """#!/bin/bash
while [ "${1:0:1}" = - ]; do
    case "$1" in -w) hosts=$2; shift ;; -f) shift ;; esac
    shift
done
number=0 pids=()
for host in ${hosts//,/ }; do
    bash -c "${*//%n/$number}" & pids+=($!)
    number=$((number + 1))
done
worst=0
for pid in "${pids[@]}"; do wait "$pid" || worst=$?; done
exit $worst
"""


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder with ssh, and without pdsh."""
    (tmp_path / "bin").mkdir()
    return executable(tmp_path / "bin" / "ssh", SSH).parent


def executable(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


def submit(run: Run, programs: Path, hosts: str, options: list[str], expect: int) -> str:
    """Submit to `hosts`; everything that was said."""
    (programs.parent / "hosts").write_text("".join(f"{host} slots=1\n" for host in hosts.split()))
    path = {"PATH": f"{programs}:{BIN}:{os.environ['PATH']}"}
    words = ("--hostfile", programs.parent / "hosts", f"--deepspeed=--master_port={free_port()}", "--", *options)
    done = run("uer-ds", "submit", *words, expect=expect, **path)
    return str(done.stdout + done.stderr)


def test_two_hosts_train(material: Path, tmp_path: Path, programs: Path, run: Run) -> None:
    executable(programs / "pdsh", PDSH)
    options = pretrain_options(material, tmp_path / "run", total_steps=2, ds_config="zero2")
    said = submit(run, programs, "one two", options, expect=0)
    assert "= 2 processes x 16 x 1" in said
    assert [report["samples"] for report in metrics(tmp_path / "run")] == [32, 64]


def test_what_is_missing_is_said_before_anything_starts(
    material: Path, tmp_path: Path, programs: Path, run: Run
) -> None:
    options = pretrain_options(material, tmp_path / "run", total_steps=2)
    if shutil.which("pdsh") is None:
        said = submit(run, programs, "one two", options, expect=2)
        assert "--launcher pdsh: deepspeed reaches several hosts by pdsh, which is not on PATH" in said
    executable(programs / "pdsh", PDSH)
    said = submit(run, programs, "one lost", options, expect=2)
    assert "1 of 2 hosts cannot take part: lost: ssh: connect to host lost port 22: No route to host" in said
    assert "Traceback" not in said
    assert not (tmp_path / "run").exists()
