"""Fine-tune a model: `uer-ds finetune TASK --pretrained_model_path ... --train_path ... --dev_path ...`.

Runs alone (one process) or under deepspeed, torchrun, mpirun and srun. `uer-ds finetune TASK --help` lists a task's
options.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable
from typing import Any

from uer_ds.cli.compat import modernise_finetune
from uer_ds.cli.parser import Parser, add_config_options, given_values
from uer_ds.config.data import TokenizerConfig
from uer_ds.config.finetune import (
    TASK_OPTIONS,
    AdversarialConfig,
    FinetunePaths,
    FinetuneRun,
    FinetuneTraining,
    LoraConfig,
)
from uer_ds.config.model import ModelConfig
from uer_ds.config.resources import DEFAULT_ENGINE, find_json
from uer_ds.config.run import OptimConfig
from uer_ds.launch.place import find_place
from uer_ds.storage.files import read_json_object

GROUPS: dict[str, type] = {
    "paths": FinetunePaths,
    "training": FinetuneTraining,
    "optimisation": OptimConfig,
    "adversarial training": AdversarialConfig,
    "adapters": LoraConfig,
    "model (over the values of --config_path)": ModelConfig,
    "tokenizer (default: the one beside the weights)": TokenizerConfig,
}
OLD_OPTIONS = ("--log_level", "--log_file_level")
"""Accepted for UER-py's command lines, without effect."""

modernise = modernise_finetune


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One sub-command for each task."""
    add_task_parsers(parser, TASK_OPTIONS)


def add_task_parsers(parser: argparse.ArgumentParser, names: Iterable[str]) -> dict[str, argparse.ArgumentParser]:
    """A sub-command for each of the tasks `names`, with all options of its training."""
    tasks = parser.add_subparsers(dest="task", metavar="TASK", required=True, parser_class=Parser)
    parsers: dict[str, argparse.ArgumentParser] = {}
    for name in names:
        options = TASK_OPTIONS[name]
        task = parsers[name] = tasks.add_parser(name, help=(options.__doc__ or "").splitlines()[0])
        add_config_options(task, options, name)
        for title, group in GROUPS.items():
            add_config_options(task, group, title)
        for old in OLD_OPTIONS:
            task.add_argument(old, help=argparse.SUPPRESS)
        task.add_argument("--local_rank", type=int, help=argparse.SUPPRESS)
    return parsers


def run(args: argparse.Namespace) -> int:
    """Make the configuration and train."""
    config = make_run(args)
    from uer_ds.finetune.trainer import finetune  # torch and deepspeed: seconds

    return finetune(config, bool(given_values(args, TokenizerConfig)), find_place(os.environ))


def make_run(args: argparse.Namespace) -> FinetuneRun:
    """The options, checked."""

    def part(cls: type) -> Any:
        return cls(**given_values(args, cls))

    paths = part(FinetunePaths)
    engine = find_json("ds_configs", paths.ds_config or DEFAULT_ENGINE, "--ds_config")
    return FinetuneRun(
        task=args.task,
        options=part(TASK_OPTIONS[args.task]),
        paths=paths,
        training=part(FinetuneTraining),
        optim=part(OptimConfig),
        adversarial=part(AdversarialConfig),
        lora=part(LoraConfig),
        tokenizer=part(TokenizerConfig),
        model=given_values(args, ModelConfig),
        engine=read_json_object(engine),
    )
