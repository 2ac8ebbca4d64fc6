"""Models by name: the JSON files under `models/`, and the grid of RoBERTa sizes, which needs no files.

Imports no torch, so that the command line can ask.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from uer_ds.config.model import ModelConfig, model_config_from_dict
from uer_ds.config.resources import find_json
from uer_ds.errors import UserError
from uer_ds.storage.files import read_json_object
from uer_ds.storage.places import CONFIG_FILE, newest_checkpoint

HEAD_SIZE = 64
"""Width of a head in the whole grid."""

GRID_LAYERS, GRID_WIDTHS = (2, 4, 6, 8, 10, 12), (128, 256, 512, 768)
GRID = tuple(f"roberta_L-{layers}_H-{width}" for layers in GRID_LAYERS for width in GRID_WIDTHS)
"""The 24 sizes of the model zoo; other numbers of layers and widths have a name of the same form."""

_GRID_NAME = re.compile(r"(?:chinese_)?roberta_L-(\d+)_H-(\d+)")


def load_config(source: str | Path | Mapping[str, Any], **changes: Any) -> ModelConfig:
    """The configuration of a model; `changes` are keys over those of `source`, for example `vocab_size=21128`.

    `source`: UER-py's JSON keys as a dict, the path of a JSON file, a name that `uer-ds models` lists, or a checkpoint
    folder. Raises UserError for an unknown key or name, with the nearest one, a value of another type, and settings
    that contradict each other.
    """
    if isinstance(source, Mapping):
        return model_config_from_dict({**source, **changes})
    name = str(source)
    if Path(name).is_dir():
        name = str(newest_checkpoint(Path(name)) / CONFIG_FILE)
    values = model_values(name, "load_config")
    if "model_type" in values:
        raise UserError(
            f"{name}: is a configuration of Hugging Face's; convert its folder with `uer-ds convert --to uer`."
        )
    return model_config_from_dict({**values, **changes}, name)


def resolve_model(name: str, option: str = "--model") -> ModelConfig:
    """The configuration that `name` means: a JSON file, a name under `models/` ("bert/tiny"), or "roberta_L-8_H-512".

    Raises UserError, naming `option`, with the nearest name there is.
    """
    return model_config_from_dict(model_values(name, option), name)


def model_place(name: str, option: str = "--model") -> str:
    """Where the values of `name` come from: the path of its JSON file, or `name` itself where it needs none."""
    grid = _GRID_NAME.fullmatch(name) and not Path(name).is_file()
    return name if grid else str(find_json("models", name, option))


def model_values(name: str, option: str = "--model") -> dict[str, Any]:
    """As `resolve_model`, but the JSON keys and values before they are checked."""
    size = _GRID_NAME.fullmatch(name)
    if size is None or Path(name).is_file():
        return read_json_object(find_json("models", name, option))
    layers, width = int(size[1]), int(size[2])
    if layers < 1 or width < HEAD_SIZE or width % HEAD_SIZE:
        raise UserError(
            f"{option} {name}: {layers} layers of width {width}; expected at least one layer and a multiple of "
            f"{HEAD_SIZE}, for example {GRID[0]}."
        )
    return {
        **read_json_object(find_json("models", "bert/base_config", option)),
        "emb_size": width,
        "hidden_size": width,
        "feedforward_size": 4 * width,
        "heads_num": width // HEAD_SIZE,
        "layers_num": layers,
        "data_processor": "mlm",
        "target": ["mlm"],
    }
