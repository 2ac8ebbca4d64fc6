"""Files that are whole or absent: what is left after an error, and what the error says."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import pytest

from uer_ds.errors import UserError
from uer_ds.storage.files import LEFT_FOR_SECONDS, read_json_object, replacing, write_file, write_json


def test_an_error_leaves_the_old_file_and_names_it(tmp_path: Path) -> None:
    write_json(tmp_path / "new" / "x.json", {"字": 1})
    with pytest.raises(OSError, match=r"/x\.json'") as caught, replacing(tmp_path / "new" / "x.json") as temporary:
        temporary.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device", str(temporary))
    assert caught.value.filename == str(tmp_path / "new" / "x.json")
    assert read_json_object(tmp_path / "new" / "x.json") == {"字": 1}
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["x.json"]


def test_two_may_write_the_same_file(tmp_path: Path) -> None:
    with replacing(tmp_path / "x") as first, replacing(tmp_path / "x") as second:
        first.write_text("first")
        second.write_text("second")
    assert (tmp_path / "x").read_text() == "first" and len(list(tmp_path.iterdir())) == 1


def test_what_a_killed_process_left_goes_after_a_day(tmp_path: Path) -> None:
    old, fresh, other = (tmp_path / name for name in (".x.0123abcd.tmp", ".x.4567abcd.tmp", ".y.0123abcd.tmp"))
    for path in (old, fresh, other):
        path.write_text("left")
    for path in (old, other):
        os.utime(path, (time.time() - LEFT_FOR_SECONDS - 60,) * 2)
    write_file(tmp_path / "x", "new")
    assert not old.exists() and fresh.exists() and other.exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "is missing; expected a manifest"),
        (b"[]", "holds a list; expected a manifest"),
        (b"{", "is no JSON .*line 1, column 2.*expected a manifest"),
        (b"\xff", "cannot be read as UTF-8"),
    ],
)
def test_what_is_no_json_object(tmp_path: Path, content: bytes | None, words: str) -> None:
    if content is not None:
        (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(UserError, match=words):
        read_json_object(tmp_path / "x.json", "a manifest")
