"""One owner per number: what the options own is written into the DeepSpeed JSON, a contradiction is refused."""

from __future__ import annotations

from typing import Any

import pytest

from uer_ds.config.resources import find_json, resource_names
from uer_ds.config.sharing import Sharing
from uer_ds.engine.ds_config import engine_config, zero_stage
from uer_ds.engine.ds_sections import REMOVED
from uer_ds.errors import UserError
from uer_ds.storage.files import read_json_object


def filled(given: dict[str, Any]) -> dict[str, Any]:
    return engine_config(given, "ds.json", 4, 2, 3, 0.0)


def test_batch_and_clipping_are_always_written() -> None:
    config = filled({"gradient_clipping": "auto"})
    assert config["train_micro_batch_size_per_gpu"] == 4
    assert config["gradient_accumulation_steps"] == 2
    assert config["train_batch_size"] == 24
    assert config["gradient_clipping"] == 0.0


def test_processes_that_share_rows_count_as_one_for_batches() -> None:
    config = engine_config({"train_batch_size": 16}, "ds.json", 4, 2, 6, 0.0, sharing=Sharing(rows=3))
    assert (config["train_batch_size"], config["sequence_parallel_size"]) == (16, 3)
    with pytest.raises(UserError, match=r"2 micro-batches x 2 groups of 3 processes = 16"):
        engine_config({"train_batch_size": 48}, "ds.json", 4, 2, 6, 0.0, sharing=Sharing(rows=3))


@pytest.mark.parametrize("stage", [0, 3])
def test_layers_are_shared_at_stages_1_and_2_only(stage: int) -> None:
    with pytest.raises(UserError, match=f"needs ZeRO stage 1 or 2, but ds.json has stage {stage}"):
        engine_config({"zero_optimization": {"stage": stage}}, "ds.json", 4, 2, 2, 0.0, None, Sharing(layers=2))


@pytest.mark.parametrize(
    "given",
    [
        {"train_batch_size": 32},
        {"train_micro_batch_size_per_gpu": 8},
        {"gradient_accumulation_steps": 1},
        {"gradient_clipping": 1.0},
        {"optimizer": {"type": "Adam", "params": {"lr": 1e-4}}},
        {"scheduler": {"type": "WarmupLR"}},
        {"checkpoint": {"writer": {"type": "FAST", "decoupled": True}}},
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


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"zero_optimisation": {"stage": 3}}, "unknown section 'zero_optimisation'; did you mean 'zero_optimization'"),
        ({"optimizer": {"type": "OneBitAdam"}}, "belongs to --optimizer"),
        ({"data_efficiency": {"enabled": True}}, "would have no effect"),
        ({"tensor_parallel": {"autotp_size": 2}}, "belongs to --tensor_parallel_size"),
        ({"sequence_parallel_size": 2}, "belongs to --sequence_parallel_size"),
        ({"autotuning": {"enabled": True}}, "deepspeed --autotuning tune"),
        ({"activation_checkpointing": {}}, "--deepspeed_checkpoint_activations"),
        ({"zero_optimization": {"stage": 2, "zenflow": {}}}, "'zenflow'"),
        ({"zero_optimization": {"stage": 3, "offload_optimizer": {"super_offload": True}}}, "'super_offload'"),
    ],
)
def test_a_section_that_would_be_ignored_is_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError) as refusal:
        filled(given)
    assert str(refusal.value).startswith("ds.json: ")
    assert words in str(refusal.value)


def test_what_deepspeed_has_removed_is_left_to_its_own_words() -> None:
    from deepspeed.runtime import config

    assert set(config._REMOVED_TOP_LEVEL_CONFIG_KEYS) == set(REMOVED)
    assert "zero_optimization.mics_shard_size" in str(config._REMOVED_ZERO_CONFIG_KEYS)
