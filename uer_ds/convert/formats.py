"""What a path holds: the kind of checkpoint, its tensors (read lazily), its configuration and what came with it.

Nothing is guessed from file extensions: files are told by their first bytes, folders by the files in them, the two
layouts of names (ours and Hugging Face's) by the name of the word table.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from uer_ds.convert.beside import CONFIG, LABELS, beside
from uer_ds.convert.tensorflow_names import read_tensorflow, tensorflow_prefix
from uer_ds.errors import UserError
from uer_ds.models.weight_files import under_present_names
from uer_ds.models.zoo import model_values
from uer_ds.storage.files import read_json_object
from uer_ds.storage.folders import WEIGHT_FILES, holds_weights, read_folder
from uer_ds.storage.lazy import LazyTensor
from uer_ds.storage.places import CONFIG_FILE, STATE_FILE, newest_checkpoint
from uer_ds.storage.readers import file_kind, read_weights

TASK_FILE = "task.json"  # of a folder that fine-tuning has written


@dataclass(frozen=True)
class Checkpoint:
    """One opened checkpoint.

    Attributes:
        path: what was opened, a file or a folder.
        format: for people.
        tensors, config, config_path: weights, configuration and where it was found.
        state: the state.json of a training run.
        folder: where tokenizer and other files of the model are; None for a file of its own.
    """

    path: Path
    format: str
    tensors: dict[str, LazyTensor]
    config: dict[str, Any] | None = None
    config_path: Path | None = None
    state: dict[str, Any] = field(default_factory=dict)
    folder: Path | None = None

    @property
    def is_ours(self) -> bool:
        """Whether the names are UER's (any era); otherwise they are Hugging Face's."""
        return any(name.startswith("embedding.") for name in self.tensors)

    @property
    def labels(self) -> list[str] | None:
        """Names of labels in the order of their ids, where names were given (at Hugging Face one map may lack them)."""
        config, where = self.config or {}, str(self.config_path)
        named = label_ids(config, "id2label", where, inverse=True), label_ids(config, "label2id", where)
        for ids in (*named, self._labels_file()):
            names = sorted(ids, key=lambda name: ids[name])
            if not all(name.startswith("LABEL_") for name in names):
                return names
        return None

    @property
    def task(self) -> str | None:
        """What the model was fine-tuned for, where fine-tuning has written it down."""
        return self._task_file().get("task")

    def _task_file(self) -> dict[str, Any]:
        path = self.folder / TASK_FILE if self.folder else None
        return read_json_object(path) if path and path.is_file() else {}

    def _labels_file(self) -> dict[str, int]:
        """UER-py's file beside the weights, or what fine-tuning has written."""
        path = beside(self.path, LABELS)
        if self.path.is_file() and path.is_file():
            return label_ids({"labels": read_json_object(path)}, "labels", str(path))
        return label_ids(self._task_file(), "label2id", str(self.folder))


def label_ids(values: dict[str, Any], key: str, where: str, inverse: bool = False) -> dict[str, int]:
    """Name -> number of the labels that `values[key]` names (`inverse`: it has number -> name)."""
    given = values.get(key) or {}
    try:
        pairs = [(name, int(number)) for number, name in given.items()] if inverse else list(given.items())
        if all(isinstance(name, str) and type(number) is int for name, number in pairs):
            return dict(pairs)
    except (AttributeError, ValueError, TypeError):
        pass
    raise UserError(f"{where}: {key} is {str(given)[:60]}; expected an object that gives each label's name its number.")


def open_checkpoint(path: str | Path, config_path: str | Path | None = None) -> Checkpoint:
    """Find out what `path` is and open it; `config_path` is a model JSON, or the name of one, for files without."""
    try:
        checkpoint = _open(Path(path))
    except OSError as error:
        raise UserError(f"{error.filename or path}: cannot be read ({error.strerror}).") from None
    if not checkpoint.tensors:
        raise UserError(f"{path}: holds no tensors; expected the weights of a model.")
    if config_path is None:
        return checkpoint
    return replace(checkpoint, config=model_values(str(config_path), "--config_path"), config_path=Path(config_path))


def _open(path: Path) -> Checkpoint:
    is_plain = path.is_dir() and holds_weights(newest_checkpoint(path))  # though an .index lies about
    prefix = None if is_plain else tensorflow_prefix(path)
    if prefix is not None:
        return Checkpoint(path, "TensorFlow checkpoint", *read_tensorflow(prefix))
    if not path.exists():
        raise UserError(f"{path}: no such file or folder; expected a checkpoint.")
    if path.is_dir():
        folder = newest_checkpoint(path)
        return _open_folder(folder, folder, *read_folder(folder))
    if path.name in WEIGHT_FILES and (path.parent / "config.json").is_file() and not beside(path, CONFIG).is_file():
        return _open_folder(path, path.parent, read_weights(path), False)  # one file of a whole folder
    return _open_file(path)


def _open_file(path: Path) -> Checkpoint:
    tensors = _present_names(read_weights(path), path)
    kind = "safetensors file" if file_kind(path) == "safetensors" else "torch .bin file"
    config_path = beside(path, CONFIG)
    config = read_json_object(config_path) if config_path.is_file() else None
    return Checkpoint(path, kind, tensors, config, config_path if config else None)


def _open_folder(path: Path, folder: Path, tensors: dict[str, LazyTensor], is_deepspeed: bool) -> Checkpoint:
    config_path = folder / CONFIG_FILE
    config = read_json_object(config_path) if config_path.is_file() else None
    state = read_json_object(folder / STATE_FILE) if (folder / STATE_FILE).is_file() else {}
    if config and "model_type" in config:
        kind = "Hugging Face folder"
    else:
        kind = "uer_ds checkpoint" if state else "folder with weights"
    kind = "DeepSpeed checkpoint" if is_deepspeed else kind
    named = _present_names(tensors, path)
    return Checkpoint(path, kind, named, config, config_path if config else None, state, folder)


def _present_names(tensors: dict[str, LazyTensor], path: Path) -> dict[str, LazyTensor]:
    """UER's names in today's spelling; other names as they are."""
    tensors = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    is_ours = any(name.startswith("embedding.") for name in tensors)
    return under_present_names(tensors, path) if is_ours else tensors
