"""The folder of a fine-tuned model: weights under UER-py's names, `config.json`, `task.json`, the tokenizer.

`predict` and `convert` read it. Files are written under another name, synced and renamed; the description goes first
and comes last, so a folder that has one is whole.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from uer_ds.config.model import ModelConfig
from uer_ds.convert.tokenizer_files import save_tokenizer
from uer_ds.errors import UserError
from uer_ds.finetune.task import Classes
from uer_ds.models.weights import save_weights
from uer_ds.storage.files import read_json_object, remove, sync_tree, write_json
from uer_ds.storage.places import find_checkpoints
from uer_ds.tokenizers import Tokenizer

WEIGHTS_FILE = "model.safetensors"
ADAPTERS_FILE = "adapters.safetensors"
TASK_FILE = "task.json"
HUGGINGFACE_FOLDER = "huggingface"


def refuse_checkpoints(output: Path) -> None:
    """Raise UserError where `output` is the folder of a pre-training run, whose records would be overwritten."""
    if found := find_checkpoints(output):
        raise UserError(
            f"--output_model_path {output} holds {found[-1].name} of a pre-training run, whose records would be "
            f"overwritten; choose another folder, and --pretrained_model_path {output} to start from its weights."
        )


@dataclass(frozen=True)
class Description:
    """What `task.json` says: the task, its classes, its options, and the length of rows."""

    task: str
    labels: Classes
    options: dict[str, Any]
    seq_length: int
    scores: dict[str, float]


def write_result(
    folder: Path,
    weights: Mapping[str, Tensor],
    adapters: Mapping[str, Tensor],
    config: ModelConfig,
    tokenizer: Tokenizer,
    said: Description,
) -> None:
    """Write the model's files into `folder`, replacing those of an earlier epoch.

    `weights` are whole; `adapters`, where there are any, are what has been added to them, in a file of their own.
    """
    partial = folder / ".model.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    save_weights(dict(weights), partial / WEIGHTS_FILE)
    if adapters:
        save_weights(dict(adapters), partial / ADAPTERS_FILE)
    ids = {name: number for number, name in enumerate(said.labels.names)}
    write_json(partial / "config.json", config.to_dict())
    values: dict[str, Any] = {"task": said.task, "label2id": ids}
    if said.labels.tokens:
        values.update(label_tokens=said.labels.tokens, mask_token=said.labels.mask)
    if said.labels.parts:
        values.update(label_parts=dict(said.labels.parts))
    values.update(options=said.options, seq_length=said.seq_length)
    write_json(partial / TASK_FILE, {**values, "scores": said.scores})
    save_tokenizer(partial, tokenizer)
    sync_tree(partial)
    for old in (TASK_FILE, "tokenizer", ADAPTERS_FILE, HUGGINGFACE_FOLDER):
        remove(folder / old)
    files = (WEIGHTS_FILE, *([ADAPTERS_FILE] if adapters else []), "config.json", "tokenizer", TASK_FILE)
    for name in files:  # the description last: it marks a whole model
        os.replace(partial / name, folder / name)
    partial.rmdir()


def read_description(folder: Path) -> Description:
    """The `task.json` of a result folder. Raises UserError when there is none."""
    path = folder / TASK_FILE
    if not path.is_file():
        raise UserError(f"{folder}: holds no {TASK_FILE}; expected a folder that fine-tuning has written.")
    values = read_json_object(path)
    ids: dict[str, int] = values["label2id"]
    names = tuple(sorted(ids, key=lambda name: ids[name]))
    parts = tuple(values.get("label_parts", {}).items())
    labels = Classes(names, tuple(values.get("label_tokens", ())), values.get("mask_token"), parts=parts)
    return Description(values["task"], labels, values["options"], values["seq_length"], values.get("scores", {}))
