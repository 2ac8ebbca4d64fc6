"""Pre-train a model on a dataset made by `uer-ds preprocess`, or go on with one.

Run it alone (one process), under deepspeed, torchrun, mpirun or srun, or with --world_size N, which starts
the processes of this machine. The same command again resumes from the newest checkpoint.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Callable, Mapping
from typing import Any

from uer_ds.cli.compat import modernise_pretrain
from uer_ds.cli.parser import add_config_options, given_values, without_prefix
from uer_ds.config.data import SEQ_LENGTH, DataConfig, TargetTokenizerConfig, TokenizerConfig
from uer_ds.config.experiment import EXPERIMENT, as_experiment, experiment, forget
from uer_ds.config.model import ModelConfig
from uer_ds.config.options import read_values
from uer_ds.config.recipes import Recipe, load_recipe
from uer_ds.config.resources import DEFAULT_ENGINE, DEFAULT_MODEL, find_json
from uer_ds.config.run import AUTO, OptimConfig, PathConfig, RunConfig, TrainConfig
from uer_ds.config.sharing import Sharing
from uer_ds.data.manifest import Manifest, read_manifest
from uer_ds.errors import UserError, unknown_name
from uer_ds.launch.local import share_here, start_processes, this_program
from uer_ds.launch.place import find_place
from uer_ds.models import zoo
from uer_ds.storage.files import read_json_object

SECTIONS: dict[str, type] = {"data": DataConfig, "optim": OptimConfig, "train": TrainConfig, "paths": PathConfig}
JSON_SECTIONS: dict[str, type] = {"model": ModelConfig, **SECTIONS}
TOKENIZER_SECTIONS: dict[str, type] = {"tokenizer": TokenizerConfig, "target_tokenizer": TargetTokenizerConfig}
ALL_SECTIONS: dict[str, type] = {**JSON_SECTIONS, **TOKENIZER_SECTIONS}

Given = dict[str, Any]
Completion = Callable[[Given, Given, tuple[Given, Given]], tuple[DataConfig, Given]]
"""See `complete`."""


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
    add_config_options(parser, TargetTokenizerConfig, "tokenizer of the target side (mt; compared with the dataset's)")
    parser.add_argument(
        "--model",
        metavar="NAME",
        help="the same as --config_path, for names: as `uer-ds models` lists them, roberta_L-8_H-512 and the like",
    )
    _add_launch_options(parser)


def _add_launch_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("processes (without a launcher)")
    group.add_argument("--world_size", type=int, default=1, metavar="N", help="processes over all nodes (default: 1)")
    group.add_argument("--gpu_ranks", type=int, nargs="*", default=[], metavar="R", help="this node's global ranks")
    group.add_argument(
        "--master_ip", default="tcp://localhost:12345", metavar="URL", help="first node, tcp://host:port"
    )
    group.add_argument("--rank_logs", metavar="DIR", help="one log file per process in this folder: rank0.log, ...")
    names = parser.add_argument_group("names of UER-py and TencentPretrain")
    names.add_argument("--enable_zero3", action="store_true", help="the same as --ds_config zero3")
    names.add_argument("--dynamic_masking", action="store_true", help="the same as --dup_factor 0")
    old = parser.add_argument_group("accepted for their command lines, without effect")
    old.add_argument("--deepspeed", action="store_true", help=argparse.SUPPRESS)
    for name in ("--backend", "--instances_buffer_size", "--log_level", "--log_file_level"):
        old.add_argument(name, help=argparse.SUPPRESS)
    old.add_argument("--deepspeed_config", dest="ds_config", default=argparse.SUPPRESS, help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    """Make the configuration, then train here or start the processes that will."""
    config = make_run_config(args)
    place = find_place(os.environ)
    if share := share_here(place, args.world_size, args.gpu_ranks, args.master_ip):
        return start_processes(share, this_program(["pretrain", *args.arguments]), args.rank_logs)
    from uer_ds.train.stopping import StopWish

    wish = StopWish(config.train.max_minutes)
    with wish.listening(last=True):  # from now on: a signal in the seconds of the imports is not lost
        from uer_ds.train.pretrain import pretrain  # torch and deepspeed

        try:
            return pretrain(config, place, wish)
        finally:
            forget(config)


def make_run_config(args: argparse.Namespace, completion: Completion | None = None) -> RunConfig:
    """Options over recipe over JSON over defaults, completed by what the dataset knows, checked.

    `completion` takes the place of the dataset where there is none yet.
    """
    given = given_options(args)
    paths = PathConfig(**given["paths"])
    if paths.output_model_path is None:
        raise UserError("--output_model_path is missing; name the folder for checkpoints and metrics.")
    option, model_name = _chosen_model(args, paths.config_path)
    model_path = zoo.model_place(model_name, option)
    engine_name = _chosen_engine(args, paths.ds_config)
    tried = experiment(engine_name)
    engine_path = EXPERIMENT if tried else str(find_json("ds_configs", engine_name, "--ds_config"))
    from_json = split_json(zoo.model_values(model_name, option), model_path)
    values = {name: {**from_json[name], **given[name]} for name in SECTIONS}
    if args.dynamic_masking:
        values["data"]["dup_factor"] = 0
    tokenizers = (given["tokenizer"], without_prefix(given["target_tokenizer"], "tgt_"))
    data, sizes = (completion or complete)(values["data"], {**from_json["model"], **given["model"]}, tokenizers)
    try:
        model = ModelConfig(**sizes)
    except UserError as error:
        raise UserError(f"{model_path} with the options given: {error}") from None
    paths = dataclasses.replace(paths, config_path=model_path, ds_config=engine_path)
    optim, train = OptimConfig(**values["optim"]), TrainConfig(**values["train"])
    if tried:
        return as_experiment(RunConfig(model, data, optim, train, paths, tried))
    return RunConfig(model, data, optim, train, paths, read_json_object(engine_path))


def _chosen_model(args: argparse.Namespace, given: str | None) -> tuple[str, str]:
    """The option that chooses the model, and its value; `given` by --config_path or the recipe."""
    flag = getattr(args, "config_path", None)
    if flag and args.model and flag != args.model:
        raise UserError(f"--config_path is {flag} and --model {args.model}; give one of them.")
    return ("--model", args.model) if args.model else ("--config_path", given or DEFAULT_MODEL)


def _chosen_engine(args: argparse.Namespace, given: str | None) -> str:
    """The DeepSpeed JSON; `given` by --ds_config or the recipe, over which --enable_zero3 goes."""
    zero3 = args.enable_zero3 and not hasattr(args, "ds_config")
    return "zero3" if zero3 else given or DEFAULT_ENGINE


def given_options(args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """What was given, by section: the flags of the command line over the options of the recipe."""
    flags = {name: given_values(args, cls) for name, cls in ALL_SECTIONS.items()}
    if "recipe" not in flags["paths"]:
        return flags
    options = recipe_sections(load_recipe(flags["paths"]["recipe"]))
    given = {name: {**options[name], **flags[name]} for name in flags}
    if "batch_size" not in flags["train"]:
        given["train"] |= fitting(given["train"], processes(args))
    return given


def processes(args: argparse.Namespace) -> int:
    """Of the whole run, this one among them."""
    place = find_place(os.environ)
    started_by_us = place.launcher in ("none", "srun", "mpirun")  # the latter: one task per node
    return max(int(args.world_size), place.world_size) if started_by_us else place.world_size


def fitting(train: Mapping[str, Any], processes: int) -> dict[str, int]:
    """A recipe's micro-batch is the largest: with many processes a smaller one, that divides their part of an update.

    Nothing where the processes do not divide the update: the run will say what fits.
    """
    sharing = Sharing(train.get("sequence_parallel_size", 1), train.get("tensor_parallel_size", 1))
    readers = max(1, processes // max(1, sharing.together))
    share, rest = divmod(train.get("global_batch_size", 0), readers)
    if not share or rest or train.get("batch_size", AUTO) == AUTO:
        return {}
    return {"batch_size": max(size for size in range(1, min(share, train["batch_size"]) + 1) if share % size == 0)}


def recipe_sections(recipe: Recipe) -> dict[str, dict[str, Any]]:
    """The options of a recipe by section, checked; unknown keys are errors."""
    if "recipe" in recipe.options:
        raise UserError(f"{recipe.where}: a recipe names another one with extends, found recipe; rename the key.")
    return split_json(recipe.options, recipe.where, ALL_SECTIONS)


def split_json(
    values: Mapping[str, Any], where: str, classes: Mapping[str, type] = JSON_SECTIONS
) -> dict[str, dict[str, Any]]:
    """Sort the keys of a JSON object into the sections that own them; unknown keys are errors."""
    owner = {f.name: section for section, cls in reversed(list(classes.items())) for f in dataclasses.fields(cls)}
    result: dict[str, dict[str, Any]] = {section: {} for section in classes}
    for key, value in values.items():
        if key not in owner:
            raise unknown_name("key", key, owner, where)
        result[owner[key]][key] = value
    return {section: read_values(cls, result[section], where) for section, cls in classes.items()}


def complete(
    data: dict[str, Any], model: dict[str, Any], tokenizers: tuple[dict[str, Any], dict[str, Any]]
) -> tuple[DataConfig, dict[str, Any]]:
    """Fill in what the datasets know: vocabulary sizes, defaults of sampling; refuse what contradicts them.

    All are values that were given, in JSON or on the command line; `tokenizers`: of the source and of the target side.
    The model's own `data_processor` goes before the dataset's.
    """
    names, manifests = open_manifests(DataConfig(**data))
    first = manifests[0]
    for options, fingerprint in zip(tokenizers, fingerprints(first), strict=True):
        if "vocab_path" in options or "spm_model_path" in options:
            compare_tokenizer(options, fingerprint, names[0])
    for key, size in (("vocab_size", first.tokenizer.vocab_size), ("tgt_vocab_size", _target_size(first))):
        if size is not None and model.setdefault(key, size) != size:
            raise UserError(
                f"{key} is {model[key]} in the model JSON, but {names[0]} has {size} tokens; make them equal."
            )
    fields = {field.name for field in dataclasses.fields(DataConfig)}
    made_for = {name: value for name, value in first.sampling.items() if name in fields}
    processor = data.get("data_processor") or model.get("data_processor") or made_for.get("data_processor") or "bert"
    usual = {"seq_length": SEQ_LENGTH, "tgt_seq_length": SEQ_LENGTH}
    complete_data = DataConfig(**{**usual, **made_for, **data, "data_processor": processor})
    return complete_data, {**model, "data_processor": processor}


def open_manifests(data: DataConfig) -> tuple[list[str], list[Manifest]]:
    """Paths and manifests of the training datasets and the held-out one; all must share their vocabularies."""
    names = [*data.dataset_path, *([data.eval_dataset_path] if data.eval_dataset_path else [])]
    manifests = [read_manifest(name) for name in names]
    wanted = fingerprints(manifests[0])
    for name, manifest in zip(names[1:], manifests[1:], strict=True):
        for side, found, expected in zip(("", "target "), fingerprints(manifest), wanted, strict=True):
            if found != expected:
                raise UserError(
                    f"{name} was made with another {side}vocabulary than {names[0]}; make both with the same one."
                )
    return names, manifests


def fingerprints(manifest: Manifest) -> tuple[str, str]:
    """Of the tokenizers of the source and the target side; most datasets have one for both."""
    target = manifest.target_tokenizer or manifest.tokenizer
    return manifest.tokenizer.fingerprint, target.fingerprint


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
