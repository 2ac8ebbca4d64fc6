"""Answers of a fine-tuned model: `uer-ds predict TASK --load_model_path ... --test_path ... --prediction_path ...`.

The folder that `uer-ds finetune` wrote tells everything else; UER-py's .bin files want --config_path, --vocab_path and
--labels_num. Several processes (deepspeed, torchrun, mpirun, srun) share the work.
"""

from __future__ import annotations

import argparse
import os
import sys

from uer_ds.cli.compat import modernise_finetune
from uer_ds.cli.parser import Parser, add_config_options, given_values
from uer_ds.cli.progress import ProgressBar
from uer_ds.config.data import TokenizerConfig
from uer_ds.config.finetune import TASK_OPTIONS, PredictPaths, PredictRun
from uer_ds.config.model import ModelConfig
from uer_ds.launch.place import find_place

modernise = modernise_finetune


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One sub-command for each task."""
    tasks = parser.add_subparsers(dest="task", metavar="TASK", required=True, parser_class=Parser)
    for name, options in TASK_OPTIONS.items():
        task = tasks.add_parser(name, help=(options.__doc__ or "").splitlines()[0])
        add_config_options(task, PredictPaths, "paths")
        add_config_options(task, options, name)
        add_config_options(task, ModelConfig, "model (over the values of --config_path)")
        add_config_options(task, TokenizerConfig, "tokenizer (default: the one beside the weights)")
        task.add_argument("--local_rank", type=int, help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    """Predict."""
    paths = given_values(args, PredictPaths)
    model = given_values(args, ModelConfig)
    labels_num = model.pop("labels_num", None)  # the task's head has it, not the model's own
    given = given_values(args, TASK_OPTIONS[args.task])
    tokenizer = given_values(args, TokenizerConfig)
    config = PredictRun(args.task, PredictPaths(**paths), TokenizerConfig(**tokenizer), given, model, labels_num)
    from uer_ds.finetune.infer import run_prediction  # torch: seconds

    place = find_place(os.environ)
    if place.rank or not sys.stderr.isatty():
        return run_prediction(config, bool(tokenizer), place)
    with ProgressBar("predicting", unit="rows") as bar:
        return run_prediction(config, bool(tokenizer), place, bar)
