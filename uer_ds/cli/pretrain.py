"""Pre-train a model on a dataset made by `uer-ds preprocess`, or go on with one.

Run it alone (one process), under deepspeed, torchrun, mpirun or srun, or with --world_size N, which starts the
deepspeed launcher on this machine. The same command again resumes from the newest checkpoint.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from uer_ds.cli.compat import modernise_pretrain
from uer_ds.cli.parser import add_config_options, given_values
from uer_ds.config.model import ModelConfig, read_json_object
from uer_ds.config.options import read_values
from uer_ds.config.resources import find_json
from uer_ds.config.run import DataConfig, OptimConfig, PathConfig, RunConfig, TokenizerConfig, TrainConfig
from uer_ds.data.manifest import Manifest, read_manifest
from uer_ds.errors import UserError, unknown_name
from uer_ds.launch.local import become, launch_command
from uer_ds.launch.place import find_place

DEFAULT_MODEL = "bert/base_config"
DEFAULT_ENGINE = "zero1"
SECTIONS: dict[str, type] = {"data": DataConfig, "optim": OptimConfig, "train": TrainConfig, "paths": PathConfig}


modernise = modernise_pretrain
"""How `uer-ds` rewrites older spellings of this command line."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options: one group per part of the configuration."""
    add_config_options(parser, PathConfig, "paths")
    add_config_options(parser, DataConfig, "data")
    add_config_options(parser, TrainConfig, "training")
    add_config_options(parser, OptimConfig, "optimisation")
    add_config_options(parser, ModelConfig, "model (over the values of --config_path)")
    add_config_options(parser, TokenizerConfig, "tokenizer (compared with the dataset's)")
    _add_launch_options(parser)


def _add_launch_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("processes (without a launcher)")
    group.add_argument("--world_size", type=int, default=1, metavar="N", help="processes over all nodes (default: 1)")
    group.add_argument("--gpu_ranks", type=int, nargs="*", default=[], metavar="R", help="this node's global ranks")
    group.add_argument(
        "--master_ip", default="tcp://localhost:12345", metavar="URL", help="first node, tcp://host:port"
    )
    old = parser.add_argument_group("accepted for UER-py's and TencentPretrain's command lines, without effect")
    group.add_argument("--enable_zero3", action="store_true", help="TencentPretrain's name for --ds_config zero3")
    for name in ("--deepspeed", "--dynamic_masking"):
        old.add_argument(name, action="store_true", help=argparse.SUPPRESS)
    for name in ("--backend", "--instances_buffer_size", "--log_level", "--log_file_level"):
        old.add_argument(name, help=argparse.SUPPRESS)
    old.add_argument("--deepspeed_config", dest="ds_config", default=argparse.SUPPRESS, help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    """Make the configuration, then train here or start the processes that will."""
    config = make_run_config(args)
    place = find_place(os.environ)
    if place.launcher == "none" and args.world_size > 1:
        command = launch_command(args.world_size, args.gpu_ranks, args.master_ip, ["pretrain", *args.arguments])
        become(command, str(Path(__file__).resolve().parents[2]))
    from uer_ds.train.pretrain import pretrain  # torch and deepspeed: seconds

    return pretrain(config, place)


def make_run_config(args: argparse.Namespace) -> RunConfig:
    """Options over JSON over defaults, completed by what the dataset knows, checked."""
    paths = PathConfig(**given_values(args, PathConfig))
    if paths.output_model_path is None:
        raise UserError("--output_model_path is missing; name the folder for checkpoints and metrics.")
    model_path = find_json("models", paths.config_path or DEFAULT_MODEL, "--config_path")
    default_engine = "zero3" if args.enable_zero3 else DEFAULT_ENGINE
    engine_path = find_json("ds_configs", paths.ds_config or default_engine, "--ds_config")
    from_json = split_json(read_json_object(model_path), str(model_path))
    values = {name: {**from_json[name], **given_values(args, cls)} for name, cls in SECTIONS.items()}
    model_values = {**from_json["model"], **given_values(args, ModelConfig)}
    data, model_values = complete(values["data"], model_values, given_values(args, TokenizerConfig))
    try:
        model = ModelConfig(**model_values)
    except UserError as error:
        raise UserError(f"{model_path} with the options given: {error}") from None
    paths = dataclasses.replace(paths, config_path=str(model_path), ds_config=str(engine_path))
    optim, train = OptimConfig(**values["optim"]), TrainConfig(**values["train"])
    return RunConfig(model, data, optim, train, paths, read_json_object(engine_path))


def split_json(values: Mapping[str, Any], where: str) -> dict[str, dict[str, Any]]:
    """Sort the keys of a UER model JSON into the sections that own them; unknown keys are errors."""
    classes = {"model": ModelConfig, **SECTIONS}
    owner = {f.name: section for section, cls in reversed(classes.items()) for f in dataclasses.fields(cls)}
    result: dict[str, dict[str, Any]] = {section: {} for section in classes}
    for key, value in values.items():
        if key not in owner:
            raise unknown_name("key", key, owner, where)
        result[owner[key]][key] = value
    return {section: read_values(cls, result[section], where) for section, cls in classes.items()}


def complete(
    data: dict[str, Any], model: dict[str, Any], tokenizer: dict[str, Any]
) -> tuple[DataConfig, dict[str, Any]]:
    """Fill in what the datasets know: vocabulary sizes, defaults of sampling; refuse what contradicts them.

    All three are values that were given, in JSON or on the command line. The model's own `data_processor` goes before
    the dataset's.
    """
    names, manifests = open_manifests(DataConfig(**data))
    first = manifests[0]
    if "vocab_path" in tokenizer or "spm_model_path" in tokenizer:
        compare_tokenizer(tokenizer, first.tokenizer.fingerprint, names[0])
    for key, size in (("vocab_size", first.tokenizer.vocab_size), ("tgt_vocab_size", _target_size(first))):
        if size is not None and model.setdefault(key, size) != size:
            raise UserError(
                f"{key} is {model[key]} in the model JSON, but {names[0]} has {size} tokens; make them equal."
            )
    fields = {field.name for field in dataclasses.fields(DataConfig)}
    made_for = {name: value for name, value in first.sampling.items() if name in fields}
    processor = data.get("data_processor") or model.get("data_processor") or made_for.get("data_processor") or "bert"
    usual = {"seq_length": 128, "tgt_seq_length": 128}
    complete_data = DataConfig(**{**usual, **made_for, **data, "data_processor": processor})
    return complete_data, {**model, "data_processor": processor}


def open_manifests(data: DataConfig) -> tuple[list[str], list[Manifest]]:
    """Paths and manifests of the training datasets and the held-out one; all must share a vocabulary."""
    names = [*data.dataset_path, *([data.eval_dataset_path] if data.eval_dataset_path else [])]
    manifests = [read_manifest(name) for name in names]
    for name, manifest in zip(names[1:], manifests[1:], strict=True):
        if manifest.tokenizer.fingerprint != manifests[0].tokenizer.fingerprint:
            raise UserError(f"{name} was made with another vocabulary than {names[0]}; make both with the same one.")
    return names, manifests


def _target_size(manifest: Manifest) -> int | None:
    return manifest.target_tokenizer.vocab_size if manifest.target_tokenizer else None


def compare_tokenizer(options: dict[str, Any], fingerprint: str, dataset: str) -> None:
    """Refuse a dataset that was made with another vocabulary than the options name."""
    from uer_ds.tokenizers import load_tokenizer

    lower = options.get("do_lower_case", "true") == "true"
    given = load_tokenizer(**{**options, "do_lower_case": lower})
    if given.fingerprint != fingerprint:
        path = options.get("spm_model_path") or options.get("vocab_path")
        raise UserError(
            f"{dataset} was made with another vocabulary than {path} "
            "(or with other tokenizer options); give the one it was made with, or make the dataset again."
        )
