"""Every recipe is read, is a run that the checks accept, and has a model of the size it says."""

from __future__ import annotations

import dataclasses
import functools
import json
from pathlib import Path
from typing import Any

import pytest

from uer_ds.cli.models import VOCABULARY
from uer_ds.cli.pretrain import fitting, recipe_sections
from uer_ds.cli.recipes import recipe_model, row
from uer_ds.config.data import DataConfig
from uer_ds.config.model import ModelConfig
from uer_ds.config.recipes import load_recipe, recipe_names
from uer_ds.config.resources import find_json
from uer_ds.config.run import OptimConfig, PathConfig, RunConfig, TrainConfig
from uer_ds.errors import UserError
from uer_ds.models.model import build_shapes, count_parameters
from uer_ds.models.zoo import GRID
from uer_ds.objective_specs import OBJECTIVE_SPECS
from uer_ds.storage.files import read_json_object

SIZES = {
    "bert_large": 340,
    "gpt2_xlarge": 1542,
    "t5_11b": 11307,
    "megatron_bert_3.9B": 3900,
    "megatron_gpt2_8.3B": 8300,
    "llama_7b": 6700,
    "llama_65b": 65200,
}
"""Millions of parameters as the papers say; their vocabularies are larger than the zoo's, hence the tolerance."""


def complete_run(name: str) -> RunConfig:
    """The recipe as a run on some dataset; making it runs every check of the configuration."""
    sections = recipe_sections(load_recipe(name))
    model = recipe_model(load_recipe(name)).replace(vocab_size=VOCABULARY)
    data = {"data_processor": model.data_processor, **sections["data"]}
    engine = read_json_object(find_json("ds_configs", sections["paths"]["ds_config"], name))
    parts = (DataConfig(**data), OptimConfig(**sections["optim"]), TrainConfig(**sections["train"]))
    return RunConfig(model, *parts, PathConfig(**sections["paths"]), engine)


@functools.cache
def parameters(model: ModelConfig) -> int:
    """Counted on the meta device, every layer of it."""
    return count_parameters(build_shapes(model))


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_is_a_run(name: str) -> None:
    run = complete_run(name)
    train = run.train
    assert train.global_batch_size % train.batch_size == 0, "one process must be able to make an update"
    assert run.total_updates == train.total_steps, "a recipe counts updates"
    assert set(run.model.target) <= set(OBJECTIVE_SPECS[run.data.data_processor or ""].targets)
    assert run.optim.learning_rate != OptimConfig().learning_rate, "a recipe says its rate"
    assert parameters(run.model) > 10**6
    assert len(row(load_recipe(name))) == 10
    assert load_recipe(name).about


def test_sizes_are_those_of_the_papers() -> None:
    counted = {name: parameters(complete_run(name).model) / 1e6 for name in SIZES}
    assert counted == pytest.approx(SIZES, rel=0.05)


def test_the_zoo_is_complete() -> None:
    names = set(recipe_names())
    sizes = {
        "bert": ("tiny", "mini", "small", "medium", "base", "large", "xlarge"),
        "roberta": ("tiny", "mini", "small", "medium", "base", "large", "xlarge"),
        "word_roberta": ("tiny", "mini", "small", "medium", "base"),
        "albert": ("base", "large", "xlarge", "xxlarge"),
        "gpt2": ("distil", "base", "medium", "large", "xlarge"),
        "t5": ("small", "base", "large", "3b", "11b"),
        "megatron": ("bert_3.9B", "gpt2_8.3B"),
    }
    assert {f"{family}_{size}" for family, found in sizes.items() for size in found} <= names
    assert set(GRID) <= names


@pytest.mark.parametrize(("name", "rate"), [("lstm", 1e-3), ("gru", 1e-3), ("gatedcnn", 1e-4), ("elmo", 5e-4)])
def test_the_page_s_table_of_recurrent_models(name: str, rate: float) -> None:
    run = complete_run(name)
    found = (run.total_updates, run.optim.learning_rate, run.train.batch_size, run.train.global_batch_size)
    assert (*found, run.data.seq_length) == (500000, rate, 64, 64 * 8, 256)


def test_a_size_says_its_part_of_each_stage() -> None:
    first, second = (load_recipe(f"bert_xlarge{stage}").options for stage in ("", "_seq512"))
    assert (first["seq_length"], first["batch_size"], first["global_batch_size"]) == (128, 16, 512)
    assert (second["seq_length"], second["batch_size"], second["global_batch_size"]) == (512, 4, 128)
    assert second["config_path"] == "bert/xlarge"


def write(path: Path, **options: Any) -> str:
    path.write_text(json.dumps(options))
    return str(path)


def test_a_file_of_one_s_own_extends_a_recipe(tmp_path: Path) -> None:
    mine = load_recipe(write(tmp_path / "mine.json", extends="gpt2_base", learning_rate=2e-4))
    base = load_recipe("gpt2_base")
    assert mine.options == {**base.options, "learning_rate": 2e-4}
    assert mine.about == base.about
    assert mine.name == "mine"


def test_mistakes_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'bert_tiny'"):
        load_recipe("bert_tinny")
    with pytest.raises(UserError, match=r"mine.json: extends: no such recipe: gpt3"):
        load_recipe(write(tmp_path / "mine.json", extends="gpt3"))
    own = str(tmp_path / "own.json")
    with pytest.raises(UserError, match="extends itself"):
        load_recipe(write(Path(own), extends=own))
    wrong = load_recipe(write(tmp_path / "wrong.json", extends="bert_tiny", learning_rte=1e-4))
    with pytest.raises(UserError, match=r"wrong.json: unknown key 'learning_rte'; did you mean 'learning_rate'"):
        recipe_sections(wrong)
    with pytest.raises(UserError, match="a recipe file holds one"):
        load_recipe(str(find_json("launch/recipes", "bert", "test")))
    wrong = load_recipe(write(tmp_path / "nested.json", recipe="bert_tiny"))
    with pytest.raises(UserError, match="names another one with extends"):
        recipe_sections(wrong)


def test_every_option_of_a_recipe_is_documented() -> None:
    classes = (DataConfig, OptimConfig, TrainConfig, PathConfig, ModelConfig)
    helps = {field.name: field.metadata["help"] for cls in classes for field in dataclasses.fields(cls)}
    used = {key for name in recipe_names() for key in load_recipe(name).options}
    assert all(helps[key] for key in used)


@pytest.mark.parametrize(
    ("processes", "expected"), [(1, 64), (8, 64), (16, 32), (32, 16), (512, 1), (3, None), (1024, None)]
)
def test_many_processes_take_smaller_micro_batches(processes: int, expected: int | None) -> None:
    train = recipe_sections(load_recipe("bert_base"))["train"]
    assert fitting(train, processes).get("batch_size") == expected
