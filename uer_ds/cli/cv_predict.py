"""Mean probabilities of the models of a cross-validation:
`uer-ds cv-predict TASK --load_model_path ... --test_path ... --test_features_path features.npy`.

--load_model_path is what --output_model_path was for `uer-ds cv`. Several processes share the work.
"""

from __future__ import annotations

import argparse
import os

from uer_ds.cli.compat import modernise_finetune
from uer_ds.cli.parser import Parser, add_config_options, given_values
from uer_ds.config.data import TokenizerConfig
from uer_ds.config.finetune import TASK_OPTIONS, PredictRun
from uer_ds.config.model import ModelConfig
from uer_ds.config.trials import CV_TASKS, CvPredictPaths
from uer_ds.errors import UserError
from uer_ds.launch.place import find_place

modernise = modernise_finetune


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One sub-command for each task that can be cross-validated."""
    tasks = parser.add_subparsers(dest="task", metavar="TASK", required=True, parser_class=Parser)
    for name in CV_TASKS:
        options = TASK_OPTIONS[name]
        task = tasks.add_parser(name, help=(options.__doc__ or "").splitlines()[0])
        add_config_options(task, CvPredictPaths, "paths")
        add_config_options(task, options, name)
        add_config_options(task, ModelConfig, "model (over the values of --config_path)")
        add_config_options(task, TokenizerConfig, "tokenizer (default: the one beside the weights)")
        for old in ("--output_logits", "--output_prob"):  # UER-py takes them without effect
            task.add_argument(old, action="store_true", help=argparse.SUPPRESS)
        task.add_argument("--local_rank", type=int, help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    """Predict."""
    paths = CvPredictPaths(**given_values(args, CvPredictPaths))
    if not paths.test_features_path:
        raise UserError("--test_features_path is missing; name the numpy file of the mean probabilities.")
    model = given_values(args, ModelConfig)
    labels_num = model.pop("labels_num", None)
    given = given_values(args, TASK_OPTIONS[args.task])
    tokenizer = given_values(args, TokenizerConfig)
    runs = [
        PredictRun(args.task, paths.of_fold(fold), TokenizerConfig(**tokenizer), given, model, labels_num)
        for fold in range(paths.folds_num)
    ]
    from uer_ds.finetune.cv import predict_by_folds  # torch: seconds

    return predict_by_folds(runs, paths.test_features_path, bool(tokenizer), find_place(os.environ))
