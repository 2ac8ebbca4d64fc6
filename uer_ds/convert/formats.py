"""What a path holds: the kind of checkpoint, its tensors (read lazily), its configuration and what came with it.

Nothing is guessed from file extensions: files are told by their first bytes, folders by the files in them, the two
layouts of names (ours and Hugging Face's) by the name of the word table.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from uer_ds.config.model import read_json_object
from uer_ds.convert.lazy import LazyTensor
from uer_ds.convert.readers import file_kind, read_weights
from uer_ds.convert.tensorflow_names import read_tensorflow, tensorflow_prefix
from uer_ds.convert.zero import deepspeed_folder, read_zero
from uer_ds.errors import UserError
from uer_ds.models.old_names import present_names

WEIGHT_FILES = (
    "model.safetensors.index.json",
    "model.safetensors",
    "pytorch_model.bin.index.json",
    "pytorch_model.bin",
    "tencentpretrain_model.bin.index.json",
)


@dataclass(frozen=True)
class Checkpoint:
    """One opened checkpoint; `format` is for people."""

    path: Path
    format: str
    tensors: dict[str, LazyTensor]
    config: dict[str, Any] | None = None
    config_path: Path | None = None
    state: dict[str, Any] = field(default_factory=dict)

    @property
    def is_ours(self) -> bool:
        """Whether the names are UER's (any era); otherwise they are Hugging Face's."""
        return any(name.startswith("embedding.") for name in self.tensors)

    @property
    def labels(self) -> list[str] | None:
        """Names of labels in the order of their ids, where names were given."""
        ids = (self.config or {}).get("label2id") or self._labels_file()
        names = sorted(ids, key=lambda name: int(ids[name]))
        return None if all(name.startswith("LABEL_") for name in names) else names

    def _labels_file(self) -> dict[str, Any]:
        path = labels_beside(self.path)
        return read_json_object(path) if self.path.is_file() and path.is_file() else {}


def open_checkpoint(path: str | Path, config_path: str | Path | None = None) -> Checkpoint:
    """Find out what `path` is and open it; `config_path` is a model JSON for files that have none beside them."""
    try:
        checkpoint = _open(Path(path))
    except OSError as error:
        raise UserError(f"{error.filename or path}: cannot be read ({error.strerror}).") from None
    if config_path is None:
        return checkpoint
    return replace(checkpoint, config=read_json_object(config_path), config_path=Path(config_path))


def _open(path: Path) -> Checkpoint:
    prefix = tensorflow_prefix(path)
    if prefix is not None:
        return Checkpoint(path, "TensorFlow checkpoint", *read_tensorflow(prefix))
    if not path.exists():
        raise UserError(f"{path}: no such file or folder; expected a checkpoint.")
    return _open_folder(path) if path.is_dir() else _open_file(path)


def _open_file(path: Path) -> Checkpoint:
    tensors = _present_names(read_weights(path))
    kind = "safetensors file" if file_kind(path) == "safetensors" else "torch .bin file"
    beside = config_beside(path)
    config = read_json_object(beside) if beside.is_file() else None
    return Checkpoint(path, kind, tensors, config, beside if config else None)


def config_beside(path: Path) -> Path:
    """Where the model JSON of a weight file is written and looked for: `x.bin` has `x_config.json`."""
    return path.with_name(f"{path.stem}_config.json")


def labels_beside(path: Path) -> Path:
    """Where the names of labels are written and looked for, in UER-py's form (name -> id)."""
    return path.with_name(f"{path.stem}_labels.json")


def _open_folder(path: Path) -> Checkpoint:
    path = newest_checkpoint(path)
    config_path = path / "config.json"
    config = read_json_object(config_path) if config_path.is_file() else None
    state = read_json_object(path / "state.json") if (path / "state.json").is_file() else {}
    if config and "model_type" in config:
        kind = "Hugging Face folder"
    else:
        kind = "uer_ds checkpoint" if state else "folder with weights"
    zero = None if has_weights(path) else deepspeed_folder(path)
    if zero is not None:
        kind = "DeepSpeed checkpoint"
    tensors = _present_names(read_zero(zero) if zero else read_weights(find_weights(path)))
    return Checkpoint(path, kind, tensors, config, config_path if config else None, state)


def has_weights(folder: Path) -> bool:
    """Whether a file with one of the usual names is there."""
    return any((folder / name).is_file() for name in WEIGHT_FILES)


def newest_checkpoint(folder: Path) -> Path:
    """In the folder of a run the newest whole checkpoint; any other folder itself."""
    found = [path for path in folder.glob("checkpoint-*") if (path / "state.json").is_file()]
    numbered = [path for path in found if path.name.removeprefix("checkpoint-").isdigit()]
    return max(numbered, key=lambda path: int(path.name.removeprefix("checkpoint-")), default=folder)


def find_weights(folder: Path) -> Path:
    """The file of the weights (or their index) in a folder."""
    for name in WEIGHT_FILES:
        if (folder / name).is_file():
            return folder / name
    files = sorted(file for file in folder.iterdir() if file.suffix in (".bin", ".safetensors", ".pt"))
    if len(files) == 1:
        return files[0]
    if files:
        names = ", ".join(file.name for file in files[:5])
        raise UserError(f"{folder}: has {len(files)} weight files ({names}) and no index of them; name one file.")
    raise UserError(f"{folder}: has no weights; expected model.safetensors, pytorch_model.bin or an index of shards.")


def _present_names(tensors: dict[str, LazyTensor]) -> dict[str, LazyTensor]:
    """UER's names in today's spelling; other names as they are."""
    tensors = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    if not any(name.startswith("embedding.") for name in tensors):
        return tensors
    if "target.layer_norm.gamma" in tensors:  # prompt and cloze models: an mlm head called like an old cls head
        tensors = {re.sub(r"^target\.(?=linear_)", "target.mlm.", name): tensor for name, tensor in tensors.items()}
    renamed = present_names(tensors)
    return {renamed[name]: tensor for name, tensor in tensors.items()}
