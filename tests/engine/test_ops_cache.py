"""A process that is killed while it compiles or loads one of DeepSpeed's parts never makes later runs wait."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from uer_ds.engine.ops_cache import KernelBaton, cache_folder, use_ops_cache

DIES = """
import os, sys
from uer_ds.engine.ops_cache import KernelBaton
KernelBaton(sys.argv[1]).try_acquire()
os._exit(9)
"""


@pytest.fixture(autouse=True)
def torch_s_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Afterwards everything is as it was."""
    from torch.utils import cpp_extension

    monkeypatch.setattr(cpp_extension, "FileBaton", cpp_extension.FileBaton)
    monkeypatch.delenv("TORCH_EXTENSIONS_DIR", raising=False)


def test_what_the_dead_left_holds_nobody_up(tmp_path: Path) -> None:
    """Neither a killed process's turn, nor a guard of torch's; beside living processes too."""
    (tmp_path / "lock").touch()
    died = subprocess.run([sys.executable, "-c", DIES, str(tmp_path / "lock")])
    assert died.returncode == 9
    baton = KernelBaton(str(tmp_path / "lock"))
    assert baton.try_acquire()
    baton.release()


def test_one_after_the_other(tmp_path: Path) -> None:
    first, second, turn = KernelBaton(str(tmp_path / "lock")), KernelBaton(str(tmp_path / "lock")), threading.Event()
    first.try_acquire()
    waiting = threading.Thread(target=lambda: second.try_acquire() and turn.set(), daemon=True)
    waiting.start()
    assert not turn.wait(0.2)
    first.release()
    assert turn.wait(10)
    second.release()


def test_torch_uses_it_in_our_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch.utils import cpp_extension

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = use_ops_cache()
    assert folder == cache_folder() and folder.is_dir()
    assert os.environ["TORCH_EXTENSIONS_DIR"] == str(folder)
    assert cpp_extension.FileBaton is KernelBaton
    assert use_ops_cache() == folder, "also where a parent process has chosen it"


def test_the_users_own_folder_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other programs may share it, which know only torch's guard."""
    from torch.utils import cpp_extension
    from torch.utils.file_baton import FileBaton

    monkeypatch.setattr(cpp_extension, "FileBaton", FileBaton)  # a command of another test may have put ours there
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    assert use_ops_cache() is None
    assert cpp_extension.FileBaton is FileBaton


def test_every_installation_has_its_own_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    here = cache_folder()
    monkeypatch.setattr("sys.prefix", "/elsewhere")
    assert cache_folder() != here
