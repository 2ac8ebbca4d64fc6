"""What the autotuner passes in place of a DeepSpeed JSON, and the run that becomes of it."""

from __future__ import annotations

import base64
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from uer_ds.config.data import DataConfig
from uer_ds.config.experiment import EXPERIMENT, as_experiment, experiment, forget
from uer_ds.config.model import ModelConfig
from uer_ds.config.run import OptimConfig, PathConfig, RunConfig, TrainConfig
from uer_ds.engine.ds_sections import check_sections
from uer_ds.errors import UserError


def encoded(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


def made(engine: dict[str, Any]) -> RunConfig:
    sizes = {"emb_size": 8, "hidden_size": 8, "feedforward_size": 8, "heads_num": 2, "layers_num": 1}
    model = ModelConfig(vocab_size=9, embedding=("word",), target=("mlm",), data_processor="mlm", **sizes)
    data = DataConfig(dataset_path=("d",), eval_dataset_path="held_out", data_processor="mlm")
    paths = PathConfig(output_model_path="precious", ds_config=EXPERIMENT, tensorboard_dir="board")
    return RunConfig(model, data, OptimConfig(), TrainConfig(global_batch_size=64, force=True), paths, engine)


def test_only_a_json_object_is_an_experiment() -> None:
    assert experiment(encoded({"a": [1, "é?>"]})) == {"a": [1, "é?>"]}
    for other in ("zero2", "zero2.json", "ds_configs/zero2_bf16.json", "", "abcd", encoded([1]), encoded(1), "ÿ"):
        assert experiment(other) is None


def test_the_json_owns_the_batch_sizes_and_the_run_is_left_alone() -> None:
    tried = as_experiment(made({"train_micro_batch_size_per_gpu": 8, "gradient_accumulation_steps": 2}))
    assert (tried.train.batch_size, tried.train.accumulation_steps, tried.train.global_batch_size) == (8, 2, None)
    assert tried.train.no_resume
    assert not tried.train.force
    assert tried.data.eval_dataset_path is tried.paths.tensorboard_dir is None
    folder = Path(str(tried.paths.output_model_path))
    assert folder.is_dir()
    forget(tried)
    assert not folder.exists()


def test_other_runs_are_not_forgotten(tmp_path: Path) -> None:
    run = made({})
    forget(dataclasses.replace(run, paths=PathConfig(output_model_path=str(tmp_path), ds_config="zero1")))
    assert tmp_path.is_dir()


@pytest.mark.parametrize("size", [None, "auto", 0, [8, 16]])
def test_without_a_micro_batch_there_is_nothing_to_try(size: Any) -> None:
    with pytest.raises(UserError, match=r"expected positive integers"):
        as_experiment(made({"train_micro_batch_size_per_gpu": size}))


def test_the_section_belongs_to_experiments() -> None:
    check_sections({"autotuning": {"enabled": True}}, EXPERIMENT)
    with pytest.raises(UserError, match=r"zero9\.json: has the section 'autotuning', which is for `deepspeed --auto"):
        check_sections({"autotuning": {"enabled": True}}, "zero9.json")
