"""Who may write a folder at the same time: one, or all of one kind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from uer_ds.errors import UserError
from uer_ds.storage.lock import LOCK_NAME, FolderLock

OPTION = "--output_model_path"


def test_one_at_a_time(tmp_path: Path) -> None:
    with FolderLock(tmp_path, OPTION):
        for shared in (False, True):
            with pytest.raises(UserError, match=rf"being written by another run \(process {os.getpid()} "):
                FolderLock(tmp_path, OPTION, shared).__enter__()
    assert not (tmp_path / LOCK_NAME).exists()


def test_those_that_share_it_keep_the_others_away_until_the_last_has_left(tmp_path: Path) -> None:
    with FolderLock(tmp_path, OPTION, shared=True):
        with FolderLock(tmp_path, OPTION, shared=True):
            pass
        with pytest.raises(UserError, match="being written by another run"):
            FolderLock(tmp_path, OPTION).__enter__()
        assert (tmp_path / LOCK_NAME).exists()
    assert not (tmp_path / LOCK_NAME).exists()
    with FolderLock(tmp_path, OPTION):
        assert (tmp_path / LOCK_NAME).exists()


def test_what_a_dead_process_left_is_no_lock(tmp_path: Path) -> None:
    (tmp_path / LOCK_NAME).write_text("4711 elsewhere\n")
    with FolderLock(tmp_path, OPTION):
        assert (tmp_path / LOCK_NAME).read_text().startswith(f"{os.getpid()} ")
    assert not (tmp_path / LOCK_NAME).exists()
