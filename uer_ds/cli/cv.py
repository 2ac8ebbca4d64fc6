"""Cross-validate: a model for each fold of the training file, and every row's probabilities by the model that has not
seen it: `uer-ds cv TASK --train_path ... --train_features_path features.npy`.

The folds' models are folders named after --output_model_path: models/a.bin -> models/a-fold_0.bin. The same command
again goes on with the first fold that is missing.
"""

from __future__ import annotations

import argparse
import os

from uer_ds.cli import finetune
from uer_ds.cli.parser import add_config_options, given_values
from uer_ds.config.data import TokenizerConfig
from uer_ds.config.trials import CV_TASKS, CvConfig, CvRun
from uer_ds.launch.place import find_place

modernise = finetune.modernise


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One sub-command for each task that can be cross-validated."""
    for task in finetune.add_task_parsers(parser, CV_TASKS).values():
        add_config_options(task, CvConfig, "folds")


def run(args: argparse.Namespace) -> int:
    """Train the folds."""
    config = CvRun(finetune.make_run(args), CvConfig(**given_values(args, CvConfig)))
    from uer_ds.finetune.cv import cross_validate  # torch and deepspeed: seconds

    return cross_validate(config, bool(given_values(args, TokenizerConfig)), find_place(os.environ))
