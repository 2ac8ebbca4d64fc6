"""One owner per number: what the options own is written into the DeepSpeed JSON, a contradiction is refused."""

from __future__ import annotations

from typing import Any

import pytest

from uer_ds.config.model import read_json_object
from uer_ds.config.resources import find_json, resource_names
from uer_ds.engine.ds_config import engine_config, zero_stage
from uer_ds.errors import UserError


def filled(given: dict[str, Any]) -> dict[str, Any]:
    return engine_config(given, "ds.json", 4, 2, 3, 0.0)


def test_batch_and_clipping_are_always_written() -> None:
    config = filled({"gradient_clipping": "auto"})
    assert config["train_micro_batch_size_per_gpu"] == 4
    assert config["gradient_accumulation_steps"] == 2
    assert config["train_batch_size"] == 24
    assert config["gradient_clipping"] == 0.0


@pytest.mark.parametrize(
    "given",
    [
        {"train_batch_size": 32},
        {"train_micro_batch_size_per_gpu": 8},
        {"gradient_accumulation_steps": 1},
        {"gradient_clipping": 1.0},
        {"optimizer": {"type": "Adam", "params": {"lr": 1e-4}}},
        {"scheduler": {"type": "WarmupLR"}},
    ],
)
def test_a_contradiction_names_the_file(given: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"ds\.json"):
        filled(given)


def test_an_optimizer_of_whole_matrices_is_not_partitioned() -> None:
    with pytest.raises(
        UserError, match=r"--optimizer adafactor needs whole matrices, but ds\.json .* --ds_config zero0"
    ):
        engine_config({"zero_optimization": {"stage": 1}}, "ds.json", 4, 2, 3, 0.0, whole_matrices="adafactor")
    assert engine_config({}, "ds.json", 4, 2, 3, 0.0, whole_matrices="adafactor")


def test_a_contradiction_names_both_values() -> None:
    with pytest.raises(UserError, match=r"gradient_clipping is 1\.0, but the command line says --max_grad_norm 0\.0"):
        filled({"gradient_clipping": 1.0})


@pytest.mark.parametrize("name", resource_names("ds_configs"))
def test_shipped_files_say_nothing_that_options_own(name: str) -> None:
    given = read_json_object(find_json("ds_configs", name, "--ds_config"))
    assert zero_stage(filled(given)) == int(name[4])
