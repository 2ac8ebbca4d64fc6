"""The files from which the sentence-transformers library knows how to pool: read and written.

`modules.json` lists what follows the encoder, `1_Pooling/config.json` says which vector stands for a text.
"""

from __future__ import annotations

import json
from pathlib import Path

from uer_ds.config.model import ModelConfig
from uer_ds.errors import UserError
from uer_ds.storage.files import read_json_object, write_json

MODES = {"first": "cls_token", "mean": "mean_tokens", "max": "max_tokens", "last": "lasttoken"}
PLACE = Path("1_Pooling") / "config.json"
MODULES = ("Transformer", "Pooling", "Normalize")  # others have weights of their own


def saved_pooling(folder: Path | None) -> str | None:
    """How the model in `folder` makes one vector of a text, by our name; None where it does not say."""
    if folder is None or not (folder / PLACE).is_file():
        return None
    if (folder / "modules.json").is_file():
        _refuse_other_modules(folder / "modules.json")
    values = read_json_object(folder / PLACE)
    found = [key.removeprefix("pooling_mode_") for key, value in values.items() if value is True]
    found = [mode for mode in found if f"pooling_mode_{mode}" in values]
    ours = [name for name, mode in MODES.items() if found == [mode]]
    if not ours:
        raise UserError(
            f"{folder / PLACE}: pools by {' and '.join(found) or 'nothing that is known'}; only one of "
            f"{', '.join(MODES.values())} can be converted, move {PLACE.parent} away to convert the encoder alone."
        )
    return ours[0]


def _refuse_other_modules(path: Path) -> None:
    """Raise `UserError` when something with weights follows the encoder."""
    try:
        types = [str(entry["type"]).rsplit(".", 1)[-1] for entry in json.loads(path.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError, KeyError):
        raise UserError(f"{path}: is no list of modules with types; restore it or move it away.") from None
    others = [name for name in types if name not in MODULES]
    if others:
        raise UserError(f"{path}: has a layer {others[0]} after the encoder, which cannot be converted; move it away.")


def write_sentence_transformers(folder: Path, config: ModelConfig) -> None:
    """Say how `config` pools."""
    pooling = {"word_embedding_dimension": config.hidden_size}
    pooling |= {f"pooling_mode_{mode}": mode == MODES[config.pooling] for mode in MODES.values()}
    (folder / PLACE.parent).mkdir()
    write_json(folder / PLACE, pooling)
    parts = [("", "Transformer"), (str(PLACE.parent), "Pooling")]
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{name}"}
        for number, (path, name) in enumerate(parts)
    ]
    write_json(folder / "modules.json", modules)
