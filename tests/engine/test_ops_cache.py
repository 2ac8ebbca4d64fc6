"""A compilation that was killed never makes later runs wait."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from uer_ds.engine.ops_cache import LONGEST_COMPILATION_SECONDS, TORCH_LOCK, cache_folder, enter, use_ops_cache


@pytest.fixture
def guard(tmp_path: Path) -> Path:
    path = tmp_path / "some_op" / TORCH_LOCK
    path.parent.mkdir()
    path.touch()
    return path


def test_the_first_process_clears_what_the_dead_left(tmp_path: Path, guard: Path) -> None:
    with enter(tmp_path):
        assert not guard.exists()


def test_a_living_process_keeps_its_guard(tmp_path: Path, guard: Path) -> None:
    with enter(tmp_path):
        guard.touch()
        with enter(tmp_path):
            assert guard.exists()


def test_an_old_guard_goes_even_beside_the_living(tmp_path: Path, guard: Path) -> None:
    with enter(tmp_path):
        guard.touch()
        old = time.time() - 2 * LONGEST_COMPILATION_SECONDS
        os.utime(guard, (old, old))
        with enter(tmp_path):
            assert not guard.exists()


def test_the_users_own_folder_is_left_alone(tmp_path: Path, guard: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    assert use_ops_cache() is None
    assert guard.exists()


def test_every_installation_has_its_own_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    here = cache_folder()
    monkeypatch.setattr("sys.prefix", "/elsewhere")
    assert cache_folder() != here
