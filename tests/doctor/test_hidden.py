"""Folders of a visit: a killed doctor's are no obstacle, and are removed when they are old."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from uer_ds.doctor.hidden import STALE_SECONDS, make_hidden, remove_hidden
from uer_ds.errors import UserError


def test_what_a_killed_doctor_left_is_no_obstacle(tmp_path: Path) -> None:
    old, _ = make_hidden(tmp_path)
    young, _ = make_hidden(tmp_path)
    past = old.stat().st_mtime - STALE_SECONDS - 1
    os.utime(old, (past, past))
    new, topmost = make_hidden(tmp_path)
    assert set(tmp_path.iterdir()) == {young, new}
    assert topmost == new


def test_only_what_was_made_is_removed(tmp_path: Path) -> None:
    folder, topmost = make_hidden(tmp_path / "a" / "b")
    assert topmost == tmp_path / "a"
    (folder / "metrics").write_text("1")
    (tmp_path / "a" / "others").write_text("2")
    remove_hidden(folder, topmost)
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["others"]


def test_no_folder_can_be_made() -> None:
    with pytest.raises(UserError, match="choose another --output_model_path"):
        make_hidden(Path("/proc/run"))
