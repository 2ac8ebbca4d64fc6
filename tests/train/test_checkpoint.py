"""Which checkpoint is continued and which may go; damage of any kind is noticed before anything is loaded."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from uer_ds.config.layout import Layout
from uer_ds.engine.group import Group
from uer_ds.errors import UserError
from uer_ds.launch.place import Place
from uer_ds.storage.checksums import size_and_sum
from uer_ds.storage.places import STATE_FILE, checkpoint_path, find_checkpoints
from uer_ds.train.checkpoint import newest_sound, read_state, superfluous


class Alone(Group):
    """The group of one process, without a process group."""

    def __init__(self) -> None:
        self.place = Place("none", 0, 1, 0, 1, "", 0)


def write(output: Path, updates: int) -> Path:
    """A checkpoint with two files beside its state."""
    folder = checkpoint_path(output, updates)
    (folder / "engine").mkdir(parents=True)
    (folder / "engine" / "weights.pt").write_bytes(bytes(range(256)) * 40)
    (folder / "config.json").write_text("{}")
    files = {name: size_and_sum(folder / name) for name in ("engine/weights.pt", "config.json")}
    state = {"updates": updates, "samples": 0, "tokens": 0, "seed": 7, "identity": {}, "tokenizer": {}}
    state |= {
        "layout": dataclasses.asdict(Layout(1, 1, "", "fp32", 8, 1, 1)),
        "datasets": [],
        "run": {},
        "versions": {},
        "files": files,
    }
    (folder / STATE_FILE).write_text(json.dumps(state))
    return folder


def truncate(folder: Path) -> None:
    path = folder / "engine" / "weights.pt"
    path.write_bytes(path.read_bytes()[:-1])


def flip_one_bit(folder: Path) -> None:
    path = folder / "engine" / "weights.pt"
    content = bytearray(path.read_bytes())
    content[5000] ^= 1
    path.write_bytes(content)


DAMAGE = {
    "a shorter file": (truncate, "weights.pt has 10239 bytes, 10240 were written"),
    "one bit": (flip_one_bit, "weights.pt has the checksum"),
    "a missing file": (lambda folder: (folder / "config.json").unlink(), "config.json is not there"),
    "half a state": (lambda folder: (folder / STATE_FILE).write_text('{"upd'), "state.json: cannot be read"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_newest_one_is_passed_over_with_a_warning(kind: str, tmp_path: Path) -> None:
    for updates in (5, 10, 100):
        write(tmp_path, updates)
    damage, words = DAMAGE[kind]
    damage(checkpoint_path(tmp_path, 100))
    said: list[str] = []
    found = newest_sound(tmp_path, Alone(), said.append)
    assert found is not None
    assert (found[0].name, found[1].updates) == ("checkpoint-10", 10)
    assert len(said) == 1
    assert "checkpoint-100 is damaged and passed over" in said[0]
    assert words in said[0]


def test_unfinished_folders_do_not_count(tmp_path: Path) -> None:
    write(tmp_path, 5)
    (write(tmp_path, 10) / STATE_FILE).unlink()
    write(tmp_path, 15).rename(tmp_path / ".checkpoint-15.partial")
    assert [path.name for path in find_checkpoints(tmp_path)] == ["checkpoint-5"]
    assert newest_sound(tmp_path / "elsewhere", Alone(), print) is None


def test_when_none_is_sound_the_run_does_not_start_over(tmp_path: Path) -> None:
    truncate(write(tmp_path, 5))
    with pytest.raises(UserError, match=r"none of its 1 checkpoints is sound .*weights.pt has 10239 bytes"):
        newest_sound(tmp_path, Alone(), lambda line: None)


@pytest.mark.parametrize(
    ("keep", "keep_every", "left"),
    [
        (0, 0, [10, 20, 30, 40, 45, 50]),
        (2, 0, [45, 50]),
        (2, 20, [20, 40, 45, 50]),
        (1, 30, [30, 50]),
        (0, 20, [10, 20, 30, 40, 45, 50]),
    ],
)
def test_what_is_kept(keep: int, keep_every: int, left: list[int], tmp_path: Path) -> None:
    found = [checkpoint_path(tmp_path, n) for n in (10, 20, 30, 40, 45, 50)]
    gone = superfluous(found, found[-1], keep, keep_every)
    assert [path.name for path in found if path not in gone] == [f"checkpoint-{n}" for n in left]


def test_the_one_just_written_stays_also_behind_a_newer_damaged_one(tmp_path: Path) -> None:
    found = [checkpoint_path(tmp_path, n) for n in (10, 20, 30)]
    assert superfluous(found, found[1], keep=1, keep_every=0) == [found[0]]


def test_an_earlier_form_is_told_from_damage(tmp_path: Path) -> None:
    folder = write(tmp_path, 3)
    state = json.loads((folder / STATE_FILE).read_text())
    state["layout"] = {"processes": 2, "zero stage": 1}
    (folder / STATE_FILE).write_text(json.dumps(state))
    with pytest.raises(UserError, match=r"is of an earlier form .* or give --pretrained_model_path .*checkpoint-3"):
        read_state(folder)
