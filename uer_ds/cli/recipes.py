"""List the recipes: whole runs under one name, for `uer-ds pretrain --recipe NAME`; or show one of them.

`uer-ds recipes` prints the table, `uer-ds recipes NAME` (or a JSON file of your own) every option of one.
"""

from __future__ import annotations

import argparse
from typing import Any

from uer_ds.cli.models import VOCABULARY, aligned
from uer_ds.cli.pretrain import recipe_sections
from uer_ds.config.data import SEQ_LENGTH
from uer_ds.config.model import ModelConfig
from uer_ds.config.recipes import Recipe, load_recipe, recipe_names
from uer_ds.config.resources import DEFAULT_ENGINE, DEFAULT_MODEL
from uer_ds.config.run import OptimConfig, TrainConfig
from uer_ds.models.zoo import resolve_model

HEAD = ("name", "model", "objective", "rows of", "batch", "micro", "rate", "updates", "tokens", "DeepSpeed")
NUMBERS = frozenset(HEAD[3:9])
"""Columns that end at the same place."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """A name, or nothing."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="show every option of this recipe")


def run(args: argparse.Namespace) -> int:
    """Print the table, or one recipe."""
    if args.name is None:
        show_all()
    else:
        show(load_recipe(args.name, "recipes"))
    return 0


def show_all() -> None:
    """The table of all recipes, one a line however wide the terminal is."""
    for line in aligned([HEAD, *(row(load_recipe(name)) for name in recipe_names())], NUMBERS):
        print(line)
    print("\nuer-ds pretrain --recipe NAME --dataset_path ... --output_model_path ...; flags go before the recipe.")


def row(recipe: Recipe) -> tuple[str, ...]:
    """One line of the table; `tokens` are those of the whole run, in billions."""
    options = {**defaults(), **recipe.options}
    batch, length, updates = options["global_batch_size"], options["seq_length"], options["total_steps"]
    model = recipe_model(recipe)
    return (
        recipe.name,
        options["config_path"],
        str(options.get("data_processor") or model.data_processor),
        f"{length:,}",
        f"{batch:,}",
        f"{options['batch_size']:,}",
        f"{options['learning_rate']:g}",
        f"{updates:,}",
        f"{batch * length * updates / 1e9:,.0f} G",
        options["ds_config"],
    )


def recipe_model(recipe: Recipe) -> ModelConfig:
    """The model of a recipe, with the model keys that the recipe itself changes."""
    sections = recipe_sections(recipe)
    return resolve_model(sections["paths"].get("config_path", DEFAULT_MODEL)).replace(**sections["model"])


def defaults() -> dict[str, Any]:
    """What a recipe that says nothing gets, as far as the table shows it."""
    train, optim = TrainConfig(), OptimConfig()
    return {
        "batch_size": train.batch_size,
        "global_batch_size": train.global_batch_size or train.batch_size,
        "total_steps": train.total_steps,
        "learning_rate": optim.learning_rate,
        "seq_length": SEQ_LENGTH,
        "config_path": DEFAULT_MODEL,
        "ds_config": DEFAULT_ENGINE,
    }


def show(recipe: Recipe) -> None:
    """Every option of one recipe as it would stand on a command line, and the size of its model."""
    from uer_ds.models.model import build_shapes, count_parameters  # torch: seconds

    model = build_shapes(recipe_model(recipe).replace(vocab_size=VOCABULARY))
    print(f"{recipe.name}: {recipe.about}")
    print(f"file {recipe.where}; {count_parameters(model):,} parameters with {VOCABULARY:,} tokens\n")
    for name, value in recipe.options.items():
        print(f"  --{name} {words(value)}".rstrip())


def words(value: Any) -> str:
    """A JSON value as arguments; a switch that is on has none."""
    if isinstance(value, bool):
        return "" if value else "(off)"
    if isinstance(value, list):
        return " ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
