"""The files beside a weight file that are called like it: `x.bin` has `x_config.json`, `x_labels.json`, `x_vocab.txt`.

They belong to the weights: written, replaced, refused and removed together with them, since they are read with them.
"""

from __future__ import annotations

from pathlib import Path

CONFIG, LABELS, THEIR_IDS = "config.json", "labels.json", "huggingface.json"
NAMES = (CONFIG, LABELS, THEIR_IDS, "vocab.txt", "merges.txt", "spm.model")


def beside(path: Path, name: str) -> Path:
    """Where the side file `name` of the weight file `path` is written and looked for."""
    return path.with_name(f"{path.stem}_{name}")


def side_files(path: Path) -> list[Path]:
    """All files that may belong to the weight file `path`."""
    return [beside(path, name) for name in NAMES]
