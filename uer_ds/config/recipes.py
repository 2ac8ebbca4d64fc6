"""Recipes: the options of a whole run under one name, read from `launch/recipes/` or from a file of your own.

A recipe's keys are option names (`uer-ds pretrain --help`); flags on the command line go before them. A file holds one
recipe, or a family: what all of its recipes have in common, its sizes, and stages of training (short rows first, long
rows afterwards), named FAMILY_SIZE and FAMILY_SIZE_STAGE. Nothing is copied: a file may also extend another recipe.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uer_ds.config.resources import resource_names, resource_root
from uer_ds.errors import UserError, nearest, unknown_name
from uer_ds.storage.files import read_json_object

FOLDER = "launch/recipes"
FAMILY_KEYS = ("about", "common", "sizes", "stages")


@dataclass(frozen=True)
class Recipe:
    """One recipe: `options` are option names and values as in JSON; `where` names the file, for errors."""

    name: str
    about: str
    where: str
    options: dict[str, Any]


def recipe_names() -> list[str]:
    """Every name that `load_recipe` knows, families one after the other."""
    return list(_shipped())


def load_recipe(name: str, option: str = "--recipe") -> Recipe:
    """The recipe that `name` means: a JSON file, or a name out of `recipe_names()`.

    Raises UserError, naming `option`, with the nearest name there is; also for a file that extends itself.
    """
    return _load(name, option, ())


def _load(name: str, option: str, inside: tuple[str, ...]) -> Recipe:
    if name in inside:
        raise UserError(f"{name}: extends itself ({' > '.join((*inside, name))}); remove one of the extends.")
    if Path(name).is_file():
        values = read_json_object(name)
        if "sizes" in values:
            known = ", ".join(_family(Path(name), values))
            raise UserError(f"{option} {name}: holds a family of recipes ({known}); a recipe file holds one.")
        return _flat(Path(name), values, (*inside, name))
    shipped = _shipped()
    wanted = name.removeprefix(f"{FOLDER}/").removesuffix(".json")
    if wanted not in shipped:
        guess = nearest(wanted, shipped)
        hint = f"did you mean {guess!r}? " if guess else ""
        raise UserError(f"{option}: no such recipe: {name}; {hint}`uer-ds recipes` lists them.")
    path, values = shipped[wanted]
    return _flat(path, values, (*inside, name), wanted)


def _flat(path: Path, values: dict[str, Any], inside: tuple[str, ...], name: str | None = None) -> Recipe:
    """A recipe from the keys of one file, over those of the recipe that it extends."""
    options = dict(values)
    about, base = options.pop("about", ""), options.pop("extends", None)
    if base is not None:
        below = _load(str(base), f"{path}: extends", inside)
        options, about = {**below.options, **options}, about or below.about
    return Recipe(name or path.stem, about, str(path), options)


def _shipped() -> dict[str, tuple[Path, dict[str, Any]]]:
    """Name -> file and the recipe's keys, `about` and `extends` among them."""
    root = resource_root(FOLDER) / FOLDER
    found: dict[str, tuple[Path, dict[str, Any]]] = {}
    for file_name in resource_names(FOLDER):
        path = root / f"{file_name}.json"
        values = read_json_object(path)
        recipes = _family(path, values) if "sizes" in values else {file_name: values}
        found.update({name: (path, keys) for name, keys in recipes.items()})
    return found


def _family(path: Path, values: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Name -> keys of every recipe of a family: common < size < stage < what the size says for this stage."""
    for key in values:
        if key not in FAMILY_KEYS:
            raise unknown_name("key", key, FAMILY_KEYS, str(path))
    recipes = {}
    for size, own in values["sizes"].items():
        for stage, of_stage in {"": {}, **values.get("stages", {})}.items():
            own_stages = own.get("stages", {})
            for named in own_stages:
                if named not in values.get("stages", {}):
                    raise unknown_name("stage", named, values.get("stages", {}), f"{path}: sizes: {size}")
            keys = {"about": values["about"], **values["common"], **own, **of_stage, **own_stages.get(stage, {})}
            keys.pop("stages", None)
            recipes["_".join(filter(None, (path.stem, size, stage)))] = keys
    return recipes
