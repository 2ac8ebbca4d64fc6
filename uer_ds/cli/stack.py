"""One prediction from several models' probabilities, by gradient-boosted trees (LightGBM):
`uer-ds stack --train_path train.tsv --train_features_path a.npy b.npy --test_path test.tsv --test_features_path ...`.

Features are what `uer-ds cv` and `uer-ds cv-predict` write. --trials_num 100 searches LightGBM's parameters by optuna.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uer_ds.cli.compat import split_arguments
from uer_ds.cli.opening import one_process
from uer_ds.cli.parser import add_config_options, given_values
from uer_ds.config.tools import StackConfig
from uer_ds.errors import UserError

if TYPE_CHECKING:
    from uer_ds.finetune.stack import Training
    from uer_ds.finetune.task import Labels


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
    from uer_ds.finetune.stack import PARAMETERS, judge, search
    from uer_ds.storage.disk import disk_errors

    with disk_errors():
        training, labels = _training(config)
        given = _given(config) if config.params_path and not config.trials_num else dict(PARAMETERS)
        if config.trials_num:
            given = search(training, config.trials_num)
            print(json.dumps(given))
            if config.params_path:
                Path(config.params_path).write_text(json.dumps(given, indent=1) + "\n", encoding="utf-8")
        score, rounds = judge(training, given)
        print(f"{config.folds_num} folds: macro F1 {score:.4f}, {rounds} rounds", flush=True)
        if config.test_path:
            _test(config, training, labels, given, rounds)
    return 0


def _training(config: StackConfig) -> tuple[Training, Labels]:
    import numpy as np

    from uer_ds.finetune.rows import read_rows
    from uer_ds.finetune.stack import make_training, read_features
    from uer_ds.finetune.tasks.classifier import labels_from

    rows = [
        (row.text("label"), f"{config.train_path}: line {row.number}")
        for row in read_rows(str(config.train_path), ["label"])
        if not row.empty
    ]
    found = {label for label, _ in rows}
    labels = labels_from(rows, by_name=not all(label.isdecimal() for label in found))
    if config.labels_num is not None and config.labels_num != len(labels):
        raise UserError(f"--labels_num is {config.labels_num}, but {config.train_path} has {len(labels)} classes.")
    paths = config.train_features_path, config.models_num, "train", len(rows), str(config.train_path)
    classes = np.array([labels.number(label) for label, _ in rows], dtype=np.int64)
    return make_training(read_features(*paths), classes, len(labels), config.folds_num, config.seed), labels


def _given(config: StackConfig) -> dict[str, Any]:
    from uer_ds.config.model import read_json_object
    from uer_ds.finetune.stack import read_parameters

    path = Path(str(config.params_path))
    return read_parameters(read_json_object(path), path)


def _test(config: StackConfig, training: Training, labels: Labels, given: dict[str, Any], rounds: int) -> None:
    """Predict the test data, and score it where it has labels."""
    from uer_ds.finetune.metrics import classification_scores
    from uer_ds.finetune.output import prediction_file
    from uer_ds.finetune.rows import read_rows
    from uer_ds.finetune.stack import predict, read_features

    rows = [row for row in read_rows(str(config.test_path), []) if not row.empty]
    paths = config.test_features_path, config.models_num, "test", len(rows), str(config.test_path)
    features = read_features(*paths)
    if features.shape[1] != training.features.shape[1]:
        raise UserError(
            f"--test_features_path has {features.shape[1]} columns in all, --train_features_path "
            f"{training.features.shape[1]}; give the same models in the same order."
        )
    answers = predict(training, given, rounds, features)
    found = answers.argmax(1)
    if config.prediction_path:
        with prediction_file(Path(config.prediction_path), ("label", "prob")) as file:
            file.write((labels.names[number], row.tolist()) for number, row in zip(found, answers, strict=True))
    if rows and "label" in rows[0].values:
        right = [labels.number(row.text("label")) for row in rows]
        print("\n".join(classification_scores(found.tolist(), right, labels.names).lines))
