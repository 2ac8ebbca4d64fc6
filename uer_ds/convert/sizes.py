"""The sizes that no tensor tells alone: heads, their width, layers that are all one. Hints fill in, files must agree.

Only the number of heads may have to be asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from uer_ds.convert.families.family import Family
from uer_ds.convert.mapping import Choice
from uer_ds.errors import UserError
from uer_ds.storage.lazy import TensorMap


@dataclass(frozen=True)
class Hints:
    """What the user said about a checkpoint, for what it does not say itself.

    `layernorm` ("normal" or "uer") is the kind on UER's side: what a `.bin` without configuration was trained with,
    and what a UER output will be run with. `ask_heads` gets the hidden size and returns the number of heads.
    """

    family: str | None = None
    choice: Choice = field(default_factory=Choice)
    heads_num: int | None = None
    layers_num: int | None = None
    layernorm: str | None = None
    ask_heads: Callable[[int], int] | None = None

    def __post_init__(self) -> None:
        for key in ("heads_num", "layers_num"):
            value = getattr(self, key)
            if value is not None and value < 1:
                raise UserError(f"--{key} is {value}; expected a positive integer.")


def settle_sizes(values: dict[str, Any], where: str, hints: Hints, spelt: Mapping[str, str]) -> None:
    """Fill in the numbers of heads and layers, and compare heads with the widths of the matrices.

    `attention_width` and `key_width` (heads times head size) are no keys of ours; they end here. `spelt` gives keys as
    the configuration spells them.
    """
    width, key_width = values.pop("attention_width", None), values.pop("key_width", None)
    if width is None:
        return
    for key, hint in (("layers_num", hints.layers_num), ("heads_num", hints.heads_num)):
        if hint is not None and values.setdefault(key, hint) != hint:
            raise UserError(f"{where}: --{key} is {hint}, but the model has {values[key]}; leave it out.")
    if values.get("layers_num") is None:
        raise UserError(f"{where}: its layers are all one and no file tells their number; give --layers_num.")
    hidden = values["hidden_size"]
    heads = values["heads_num"] = find_heads(values.get("heads_num"), hidden, hints, where)
    if width % heads:
        raise UserError(f"{where}: {heads} attention heads do not divide the width {width} of its matrices.")
    head_size = width // heads
    if key_width % head_size:
        raise UserError(f"{where}: heads of {head_size} do not divide the width {key_width} of its key matrices.")
    found = {"attention_head_size": head_size, "local_kv_heads_num": key_width // head_size}
    for key, usual in (("attention_head_size", hidden / heads), ("local_kv_heads_num", heads)):
        said = values.pop(key, None)
        if said is not None and said != found[key]:
            raise UserError(
                f"{where}: says {spelt.get(key, key)} is {said}, but with {heads} heads the tensors have {found[key]}; "
                "the configuration belongs to another model."
            )
        if found[key] != usual:
            values[key] = found[key]


def find_heads(stated: Any, hidden: int, hints: Hints, where: str) -> int:
    """The number of heads: of the files, of the hints, or asked for."""
    heads = stated or hints.heads_num
    if heads is None and hints.ask_heads:
        heads = hints.ask_heads(hidden)
    if heads is None:
        raise UserError(
            f"{where}: the number of attention heads is in no file; give --heads_num "
            f"(usually hidden size / 64: {hidden} / 64 = {hidden / 64:g}) or the model's JSON with --config_path."
        )
    if not isinstance(heads, int) or heads < 1:
        raise UserError(f"{where}: the number of attention heads is {heads!r}; expected a positive integer.")
    return heads


def head_size(family: Family, tensors: TensorMap, stated: Any, hints: Hints, where: str) -> int | None:
    """Width of a head, where the rules of a family depend on it; `tensors` have their names."""
    if not family.query:
        return None
    query = tensors.get(family.query)
    if query is None or len(query.shape) != 2:
        return 2  # the table will say that it is missing
    rows, hidden = query.shape
    heads = find_heads(stated, hidden, hints, where)
    if rows % (2 * heads):
        raise UserError(f"{where}: {heads} attention heads do not divide the {rows} rows of {family.query} evenly.")
    return rows // heads
