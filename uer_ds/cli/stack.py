"""One prediction from several models' probabilities, by gradient-boosted trees (LightGBM):
`uer-ds stack --train_path train.tsv --train_features_path a.npy b.npy --test_path test.tsv --test_features_path ...`.

Features are what `uer-ds cv` and `uer-ds cv-predict` write. --trials_num 100 searches LightGBM's parameters by optuna.
"""

from __future__ import annotations

import argparse

from uer_ds.cli.compat import split_arguments
from uer_ds.cli.opening import one_process
from uer_ds.cli.parser import add_config_options, given_values
from uer_ds.config.trials import StackConfig
from uer_ds.storage.disk import disk_errors


def modernise(arguments: list[str]) -> list[str]:
    """UER-py's search calls its trials epochs."""
    given = split_arguments(arguments)
    trials = given.get("epochs_num")
    if trials is not None:
        given.options = [(name, values) for name, values in given.options if name != "epochs_num"]
        given.put("trials_num", trials)
    return given.to_list()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Data, features, parameters."""
    add_config_options(parser, StackConfig, "stacking")


def run(args: argparse.Namespace) -> int:
    """Choose, train, predict."""
    config = StackConfig(**given_values(args, StackConfig))
    one_process()
    from uer_ds.finetune.stack import stack  # torch: seconds

    with disk_errors():
        stack(config)
    return 0
