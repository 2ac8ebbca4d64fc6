"""Options of the small tools. Names are UER-py's where it has them."""

from __future__ import annotations

from dataclasses import dataclass

from uer_ds.config.options import option
from uer_ds.errors import UserError


@dataclass(frozen=True)
class ToolPaths:
    """Model, text, results."""

    load_model_path: str | None = option(None, "weights: UER .bin, safetensors, checkpoint or Hugging Face folder")
    config_path: str | None = option(None, "model JSON, or the name of one; default: the one beside the weights")
    test_path: str | None = option(None, "text, one line each")
    prediction_path: str | None = option(None, "result file; default: the terminal")
    batch_size: int = option(32, "rows that the model reads at a time")
    seq_length: int = option(128, "longest row in tokens")

    def __post_init__(self) -> None:
        for name in ("load_model_path", "test_path"):
            if not getattr(self, name):
                raise UserError(f"--{name} is missing.")
        for name, least in (("batch_size", 1), ("seq_length", 3)):
            if getattr(self, name) < least:
                raise UserError(f"--{name} is {getattr(self, name)}; expected {least} or more.")


@dataclass(frozen=True)
class FeatureConfig:
    """What happens to the vectors."""

    whitening_size: int | None = option(None, "whiten the vectors and keep so many directions; default: as they are")
    whitening_output: str | None = option(None, "write the whitening that was found here (.npz), for other texts")
    whitening_input: str | None = option(None, "whiten with this one instead of finding one in the text")

    def __post_init__(self) -> None:
        if self.whitening_size is not None and self.whitening_size < 1:
            raise UserError(f"--whitening_size is {self.whitening_size}; expected 1 or more.")
        if self.whitening_input and (self.whitening_size or self.whitening_output):
            raise UserError("--whitening_input is whole; leave out --whitening_size and --whitening_output.")
        if self.whitening_output and not self.whitening_size:
            raise UserError("--whitening_output needs --whitening_size, which says how many directions to keep.")


@dataclass(frozen=True)
class WordPaths:
    """Model and table of words."""

    load_model_path: str | None = option(None, "weights: UER .bin, safetensors, checkpoint or Hugging Face folder")
    config_path: str | None = option(None, "model JSON, or the name of one; default: the one beside the weights")
    word_embedding_path: str | None = option(None, "result: .npy (words beside it in .txt), else word2vec's text")

    def __post_init__(self) -> None:
        for name in ("load_model_path", "word_embedding_path"):
            if not getattr(self, name):
                raise UserError(f"--{name} is missing.")


@dataclass(frozen=True)
class StackConfig:
    """Probabilities of several models -> one prediction, by gradient-boosted trees."""

    train_path: str | None = option(None, "training data with a column label (.tsv, .jsonl, .parquet)")
    test_path: str | None = option(None, "data to predict; scored where it has a column label")
    train_features_path: tuple[str, ...] = option((), "numpy files [rows, classes] of each model, or one prefix")
    test_features_path: tuple[str, ...] = option((), "the same models' answers for the test data")
    models_num: int | None = option(None, "with a prefix: the files are PREFIXtrain_features_I.npy, I below this")
    labels_num: int | None = option(None, "number of classes; default: what the training data has")
    prediction_path: str | None = option(None, "predictions for the test data: .tsv, .jsonl or .parquet")
    params_path: str | None = option(None, "JSON of LightGBM's parameters: read, or with --trials_num written")
    folds_num: int = option(5, "folds that choose the rounds and compare parameters")
    trials_num: int = option(0, "settings of parameters to try, by optuna; 0: no search")
    seed: int = option(7, "of folds, trees and search")

    def __post_init__(self) -> None:
        for name in ("train_path", "train_features_path"):
            if not getattr(self, name):
                raise UserError(f"--{name} is missing.")
        if bool(self.test_path) != bool(self.test_features_path):
            raise UserError("--test_path and --test_features_path belong together; give both or none.")
        if self.prediction_path and not self.test_path:
            raise UserError("--prediction_path needs --test_path and --test_features_path.")
        for name, least in (("folds_num", 2), ("trials_num", 0), ("models_num", 1), ("labels_num", 2)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise UserError(f"--{name} is {value}; expected {least} or more.")
