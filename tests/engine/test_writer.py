"""Copies for the background: later changes do not reach them, and tensors that share memory go on sharing it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from uer_ds.engine.writer import Writer, host_copy
from uer_ds.storage.checksums import size_and_sum


def test_a_copy_is_independent_and_as_compact() -> None:
    flat = torch.arange(1000.0)
    scale = {"cur_scale": 4}
    state = {"views": [flat[:10], flat[10:20].view(2, 5)], "flat": flat, "scale": scale, "name": "x", "step": (1, 2)}
    copy = host_copy(state, {})
    flat.zero_()
    scale["cur_scale"] = 8
    assert torch.equal(copy["views"][1], torch.arange(10.0, 20.0).view(2, 5))
    assert copy["scale"] == {"cur_scale": 4}
    assert (copy["name"], copy["step"]) == ("x", (1, 2))
    assert copy["views"][0].untyped_storage().data_ptr() == copy["flat"].untyped_storage().data_ptr()


@pytest.mark.parametrize("later", [False, True])
def test_files_are_as_torch_writes_them_and_their_checksums_right(later: bool, tmp_path: Path) -> None:
    writer = Writer()
    writer.start(later)
    weights = torch.randn(300, 7)
    writer.save({"weights": weights}, str(tmp_path / "a.pt"))
    expected = weights.clone()
    if later:
        assert not (tmp_path / "a.pt").exists()
        weights.zero_()
        writer.write_all()
    assert writer.written == {tmp_path / "a.pt": size_and_sum(tmp_path / "a.pt")}
    assert torch.equal(torch.load(tmp_path / "a.pt", weights_only=True)["weights"], expected)
    assert writer.trouble is None


def test_trouble_is_kept_and_not_raised(tmp_path: Path) -> None:
    writer = Writer()
    writer.save({"weights": torch.zeros(3)}, str(tmp_path / "nowhere" / "a.pt"))
    writer.save({"weights": torch.zeros(3)}, str(tmp_path / "b.pt"))
    assert writer.trouble == f"a.pt: [Errno 2] No such file or directory: '{tmp_path}/nowhere/a.pt'"
    assert writer.written == {}
