"""What a run without hope says of its checkpoints: only what was looked at just now."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.train.test_checkpoint import Alone, truncate, write
from uer_ds.errors import UserError
from uer_ds.train.checkpoint import newest_sound
from uer_ds.train.watchdog import Source, Watchdog


class Still(Watchdog):
    """Writes no samples down."""

    def _write(self, *_: Any) -> None:
        pass


def last_words(output: Path) -> str:
    def last_checkpoint() -> Path | None:
        found = newest_sound(output, Alone(), lambda line: None)
        return found[0] if found else None

    source: Any = Source(None, None, 1, 1, {})  # type: ignore[arg-type]
    watchdog = Still(Alone(), source, output, 1, lambda line: None, last_checkpoint)
    with pytest.raises(UserError) as caught:
        watchdog.skipped(12, 120, [torch.tensor(float("nan"))], None)
    return str(caught.value)


def test_a_sound_checkpoint_is_named(tmp_path: Path) -> None:
    assert "there is no checkpoint yet: look at" in last_words(tmp_path)
    for updates in (5, 10):
        write(tmp_path, updates)
    assert "checkpoint-10 is whole and good: look at" in last_words(tmp_path)


def test_a_damaged_checkpoint_is_not_called_good(tmp_path: Path) -> None:
    folders = [write(tmp_path, updates) for updates in (5, 10)]
    truncate(folders[1])
    assert "checkpoint-5 is whole and good" in last_words(tmp_path)
    truncate(folders[0])
    said = last_words(tmp_path)
    assert "the loss was not finite 1 times in a row" in said
    assert "none of its 2 checkpoints is sound" in said
    assert "whole and good" not in said
