"""Finding the JSON files that travel with the program: `models/`, `ds_configs/`, `launch/recipes/`.

In a clone they lie beside the package; an installed wheel puts them under `share/uer_ds` of the Python installation.
"""

from __future__ import annotations

import sys
from pathlib import Path

from uer_ds.errors import UserError, nearest

DEFAULT_MODEL, DEFAULT_ENGINE = "bert/base_config", "zero1"
"""Names of the model JSON and the DeepSpeed JSON where none are given."""


def resource_root(folder: str) -> Path:
    """The directory that holds `folder` (for example "ds_configs"): the clone's root, or the installation's share
    folder."""
    clone = Path(__file__).resolve().parents[2]
    return clone if (clone / folder).is_dir() else Path(sys.prefix) / "share" / "uer_ds"


def resource_names(folder: str) -> list[str]:
    """Names of the JSON files in `folder`, without suffix, sub-folders with a slash: "zero2", "bert/tiny_config"."""
    root = resource_root(folder) / folder
    return sorted(path.relative_to(root).with_suffix("").as_posix() for path in root.rglob("*.json"))


def find_json(folder: str, name: str, option: str) -> Path:
    """The JSON file that the user means by `name`: a path, or the name of one in `folder`.

    Raises UserError, naming `option`, with the nearest name there is.
    """
    if Path(name).is_file():
        return Path(name)
    names = resource_names(folder)
    root = resource_root(folder)
    wanted = name.removesuffix(".json")
    bare = wanted.removeprefix(f"{folder}/")
    for candidate in (bare, f"{bare}_config", f"{bare}/config"):
        if candidate in names:
            return root / folder / f"{candidate}.json"
    guess = nearest(bare, names)
    hint = f"; the nearest name in {folder}/ is {guess!r}" if guess else f"; {folder}/ has: {', '.join(names)}"
    raise UserError(f"{option}: no such file: {name}{hint}.")
