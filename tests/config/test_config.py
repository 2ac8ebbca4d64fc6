"""Configuration objects: unknown keys, wrong types and contradictions are refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from uer_ds.config.data import DataConfig
from uer_ds.config.model import model_config_from_dict
from uer_ds.config.resources import find_json
from uer_ds.config.run import OptimConfig, PathConfig, RunConfig, TrainConfig
from uer_ds.errors import UserError
from uer_ds.storage.files import read_json_object

TINY = {"emb_size": 8, "hidden_size": 8, "feedforward_size": 16, "heads_num": 2, "layers_num": 1, "vocab_size": 50}


def run_config(model: dict[str, Any] | None = None, **train: Any) -> RunConfig:
    config = model_config_from_dict({**TINY, **(model or {})})
    return RunConfig(config, DataConfig(), OptimConfig(), TrainConfig(**train), PathConfig(), {})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"layer_num": 2}, "did you mean 'layers_num'"),
        ({"layers_num": "2"}, "layers_num is '2'; expected an integer"),
        ({"layers_num": None}, "layers_num is missing"),
        ({"tie_weights": 1}, "tie_weights is 1; expected true or false"),
        ({"encoder": "transfomer"}, "did you mean 'transformer'"),
        ({"target": ["mln"]}, "did you mean 'mlm'"),
        ({"heads_num": 3}, "hidden_size 8 is not a multiple of heads_num 3"),
        ({"dropout": 1.5}, "dropout is 1.5"),
        ({"target": ["cls"]}, "needs labels_num"),
    ],
)
def test_a_bad_model_key_is_named(change: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=r"^model\.json: ") as caught:
        model_config_from_dict({**TINY, **change}, "model.json")
    assert words in str(caught.value)


def test_a_model_survives_its_json() -> None:
    config = model_config_from_dict({**TINY, "embedding": ["word", "pos"], "dropout": 0})
    assert config.embedding == ("word", "pos")
    assert config.dropout == 0.0
    assert model_config_from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_updates_count_accumulated_micro_batches() -> None:
    run = run_config(total_steps=100, accumulation_steps=4, report_steps=2)
    assert run.total_updates == 25
    assert run.updates(run.train.report_steps) == 1


@pytest.mark.parametrize(
    ("train", "words"),
    [
        ({"batch_size": 0}, "--batch_size is 0"),
        ({"total_steps": 2, "accumulation_steps": 4}, "not one update"),
        ({"deepspeed_checkpoint_layers_num": 0}, "--deepspeed_checkpoint_layers_num is 0"),
    ],
)
def test_a_bad_run_is_refused(train: dict[str, int], words: str) -> None:
    with pytest.raises(UserError, match=words):
        run_config(**train)


def test_a_model_that_cannot_do_what_the_run_asks_is_refused() -> None:
    with pytest.raises(UserError, match="target is empty, so there is nothing to train"):
        run_config({"target": []})
    lstm = {"encoder": "lstm", "target": ["lm"]}
    run_config(lstm)
    with pytest.raises(UserError, match=r"--deepspeed_checkpoint_activations recomputes .* encoder is 'lstm'"):
        run_config(lstm, deepspeed_checkpoint_activations=True)


ROWS, LAYERS = "sequence_parallel_size", "tensor_parallel_size"


@pytest.mark.parametrize(
    ("model", "count", "words"),
    [
        ({}, {ROWS: 0}, "--sequence_parallel_size is 0; expected 1 or more"),
        ({}, {ROWS: 3}, "heads_num 2 is no multiple of --sequence_parallel_size 3"),
        ({"encoder": "lstm", "target": ["lm"]}, {ROWS: 2}, "but encoder is 'lstm'"),
        ({"decoder": "transformer", "target": ["lm"]}, {ROWS: 2}, "but decoder is 'transformer'"),
        ({"has_residual_attention": True}, {ROWS: 2}, "but has_residual_attention is True"),
        ({"target": ["cls"], "labels_num": 2, "pooling": "mean"}, {ROWS: 2}, "needs pooling first .* found 'mean'"),
        ({}, {LAYERS: 0}, "--tensor_parallel_size is 0; expected 1 or more"),
        ({}, {LAYERS: 4}, "heads_num 2 is no multiple of --tensor_parallel_size 4"),
        ({"feedforward_size": 15}, {LAYERS: 2}, "feedforward_size 15 is no multiple"),
        ({"local_kv_heads_num": 1}, {LAYERS: 2}, "local_kv_heads_num 1 is no multiple"),
        ({"relative_position_embedding": True}, {LAYERS: 2}, "but relative_position_embedding is True"),
        ({}, {LAYERS: 2, "save_weights": "none"}, "--tensor_parallel_size 2 with --save_weights none"),
        ({}, {LAYERS: 2, ROWS: 2}, "share different things"),
    ],
)
def test_what_cannot_be_shared_is_refused(model: dict[str, Any], count: dict[str, Any], words: str) -> None:
    run_config(model)
    with pytest.raises(UserError, match=words):
        run_config(model, **count)


def test_rows_of_a_length_that_cannot_be_shared_are_refused() -> None:
    model, train = model_config_from_dict(TINY), TrainConfig(sequence_parallel_size=2)
    with pytest.raises(UserError, match="seq_length 33 is no multiple of --sequence_parallel_size 2"):
        RunConfig(model, DataConfig(seq_length=33), OptimConfig(), train, PathConfig(), {})


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"seq_length": 65}, "--seq_length 65 is longer than the position table of the model"),
        ({"seq_length": 64, "tgt_seq_length": 65, "data_processor": "mt"}, "--tgt_seq_length 65 is longer"),
        ({"seq_length": 64, "tgt_seq_length": 65, "data_processor": "bart"}, None),
    ],
)
def test_rows_longer_than_the_position_table_are_refused(data: dict[str, Any], words: str | None) -> None:
    parts = {"embedding": ["word", "pos"], "tgt_embedding": ["word", "pos"], "max_seq_length": 64}
    model = model_config_from_dict({**TINY, **parts, "decoder": "transformer", "target": ["lm"]})
    arguments = (model, DataConfig(**data), OptimConfig(), TrainConfig(), PathConfig(), {})
    if words is None:
        RunConfig(*arguments)
    else:
        with pytest.raises(UserError, match=words):
            RunConfig(*arguments)


@pytest.mark.parametrize(
    ("train", "engine", "words"),
    [
        ({}, {"zero_optimization": {"stage": 3}}, "--compile with ZeRO stage 3.*deepcompile"),
        ({"tensor_parallel_size": 2}, {"zero_optimization": {"stage": 1}}, "--compile with --tensor_parallel_size"),
    ],
)
def test_what_cannot_be_compiled_is_refused(train: dict[str, Any], engine: dict[str, Any], words: str) -> None:
    model = model_config_from_dict(TINY)
    with pytest.raises(UserError, match=words):
        RunConfig(model, DataConfig(), OptimConfig(), TrainConfig(compile=True, **train), PathConfig(), engine)


def test_json_mistakes_name_line_and_column(tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    path.write_text('{"emb_size": 8,\n "oops"}')
    with pytest.raises(UserError, match="line 2, column 8"):
        read_json_object(path)


def test_a_missing_file_offers_the_nearest_name() -> None:
    with pytest.raises(UserError, match=r"--ds_config: no such file: zer2.*'zero2'"):
        find_json("ds_configs", "zer2", "--ds_config")
    assert find_json("ds_configs", "ds_configs/zero2.json", "--ds_config").name == "zero2.json"
