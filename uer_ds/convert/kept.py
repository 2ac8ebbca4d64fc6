"""What a Hugging Face folder says of token ids and of generating text, kept so that it comes back.

Our configuration has no place for it: ids belong to the tokenizer here. Beside weights under our names it is a small
JSON file (`x_huggingface.json`, in a folder `huggingface.json`). Without it `generate` would not know where to begin
and to end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from uer_ds.convert.beside import THEIR_IDS, beside
from uer_ds.convert.families.family import Family
from uer_ds.convert.formats import Checkpoint
from uer_ds.storage.files import read_json_object, write_json
from uer_ds.tokenizers import Tokenizer

GENERATION = "generation_config.json"
GENERATORS = ("LMHeadModel", "ForCausalLM", "ForConditionalGeneration")  # endings of classes that generate text


@dataclass(frozen=True)
class Kept:
    """Keys `..._token_id` of a config.json, and the content of a generation_config.json."""

    ids: Mapping[str, Any] = field(default_factory=dict)
    generation: Mapping[str, Any] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Write the side file, if there is anything to say."""
        if self.ids or self.generation:
            write_json(path, {"config": dict(self.ids), "generation_config": dict(self.generation)})

    def ids_for(self, family: Family, tokenizer: Tokenizer | None, rows: int | None) -> dict[str, Any]:
        """Special ids of a config.json: of the tokenizer, else the kept ones; null where both know nothing.

        Ids beyond the `rows` of the word table are defaults of other vocabularies, as is what transformers fills in.
        """
        unknown = {key: None for key in family.special_ids if key != "pad_token_id"}
        kept = {key: value for key, value in self.ids.items() if key not in family.constants and _fits(value, rows)}
        roles = family.special_ids if tokenizer is not None else {}
        found = {key: getattr(tokenizer.special, role) for key, role in roles.items() if tokenizer is not None}
        return {**unknown, **kept, **{key: value for key, value in found.items() if value is not None}}

    def write_generation(self, folder: Path, config: Mapping[str, Any]) -> None:
        """Write generation_config.json for a model that generates; ids are those of its config.json."""
        if self.generation and config["architectures"][0].endswith(GENERATORS):
            ids = {key: value for key, value in config.items() if key in self.generation and key.endswith("_token_id")}
            known = {key: value for key, value in ids.items() if value is not None}
            write_json(folder / GENERATION, {**self.generation, **known})


def _fits(value: Any, rows: int | None) -> bool:
    numbers = value if isinstance(value, list) else [value]
    return all(type(number) is int and 0 <= number < (rows or 0) for number in numbers)


def kept_of(checkpoint: Checkpoint) -> Kept:
    """What came with `checkpoint`."""
    folder, config = checkpoint.folder, checkpoint.config or {}
    if not checkpoint.is_ours:
        ids = {key: value for key, value in config.items() if key.endswith("_token_id") and value is not None}
        return Kept(ids, _read(folder / GENERATION) if folder else {})
    values = _read(beside(checkpoint.path, THEIR_IDS) if folder is None else folder / THEIR_IDS)
    return Kept(values.get("config", {}), values.get("generation_config", {}))


def _read(path: Path) -> dict[str, Any]:
    return read_json_object(path) if path.is_file() else {}
