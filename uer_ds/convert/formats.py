"""What a path holds: the kind of checkpoint, its tensors (read lazily), its configuration and what came with it.

Nothing is guessed from file extensions: files are told by their first bytes, folders by the files in them, the two
layouts of names (ours and Hugging Face's) by the name of the word table.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from uer_ds.config.model import read_json_object
from uer_ds.convert.beside import CONFIG, LABELS, beside
from uer_ds.convert.tensorflow_names import read_tensorflow, tensorflow_prefix
from uer_ds.errors import UserError
from uer_ds.models.weight_files import under_present_names
from uer_ds.models.zoo import model_values
from uer_ds.storage.folders import read_folder
from uer_ds.storage.lazy import LazyTensor
from uer_ds.storage.places import newest_checkpoint
from uer_ds.storage.readers import file_kind, read_weights


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
        """Names of labels in the order of their ids, where names were given (at Hugging Face one map may lack them)."""
        config = self.config or {}
        named = config.get("id2label") or {}
        by_name = {name: number for number, name in named.items()}
        for ids in (by_name, config.get("label2id") or {}, self._labels_file()):
            names = sorted(ids, key=lambda name: int(ids[name]))
            if not all(name.startswith("LABEL_") for name in names):
                return names
        return None

    def _labels_file(self) -> dict[str, Any]:
        path = beside(self.path, LABELS)
        return read_json_object(path) if self.path.is_file() and path.is_file() else {}


def open_checkpoint(path: str | Path, config_path: str | Path | None = None) -> Checkpoint:
    """Find out what `path` is and open it; `config_path` is a model JSON, or the name of one, for files without."""
    try:
        checkpoint = _open(Path(path))
    except OSError as error:
        raise UserError(f"{error.filename or path}: cannot be read ({error.strerror}).") from None
    if config_path is None:
        return checkpoint
    return replace(checkpoint, config=model_values(str(config_path), "--config_path"), config_path=Path(config_path))


def _open(path: Path) -> Checkpoint:
    prefix = tensorflow_prefix(path)
    if prefix is not None:
        return Checkpoint(path, "TensorFlow checkpoint", *read_tensorflow(prefix))
    if not path.exists():
        raise UserError(f"{path}: no such file or folder; expected a checkpoint.")
    return _open_folder(path) if path.is_dir() else _open_file(path)


def _open_file(path: Path) -> Checkpoint:
    tensors = _present_names(read_weights(path), path)
    kind = "safetensors file" if file_kind(path) == "safetensors" else "torch .bin file"
    config_path = beside(path, CONFIG)
    config = read_json_object(config_path) if config_path.is_file() else None
    return Checkpoint(path, kind, tensors, config, config_path if config else None)


def _open_folder(path: Path) -> Checkpoint:
    path = newest_checkpoint(path)
    config_path = path / "config.json"
    config = read_json_object(config_path) if config_path.is_file() else None
    state = read_json_object(path / "state.json") if (path / "state.json").is_file() else {}
    if config and "model_type" in config:
        kind = "Hugging Face folder"
    else:
        kind = "uer_ds checkpoint" if state else "folder with weights"
    tensors, is_deepspeed = read_folder(path)
    kind = "DeepSpeed checkpoint" if is_deepspeed else kind
    return Checkpoint(path, kind, _present_names(tensors, path), config, config_path if config else None, state)


def _present_names(tensors: dict[str, LazyTensor], path: Path) -> dict[str, LazyTensor]:
    """UER's names in today's spelling; other names as they are."""
    tensors = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    is_ours = any(name.startswith("embedding.") for name in tensors)
    return under_present_names(tensors, path) if is_ours else tensors
