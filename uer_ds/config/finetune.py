"""Options of fine-tuning: what every task shares, and each task's own. Names and defaults are UER-py's.

Units: an *epoch* is one pass over the training file; a *step* is a micro-batch on one rank, as in pre-training.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from uer_ds.config.data import TokenizerConfig
from uer_ds.config.options import non_default_values, option, read_values
from uer_ds.config.run import OptimConfig
from uer_ds.errors import UserError


@dataclass(frozen=True)
class FinetunePaths:
    """Where things are read and written."""

    pretrained_model_path: str | None = option(
        None, "weights to start from: UER .bin, safetensors, checkpoint or Hugging Face folder; default: random weights"
    )
    output_model_path: str = option("models/finetuned_model.bin", "folder of the result")
    config_path: str | None = option(
        None, "model JSON, or the name of one under models/; default: the one beside the weights, else bert/base"
    )
    train_path: str | None = option(None, "training data: .tsv with a header line, .jsonl or .parquet")
    dev_path: str | None = option(None, "data that chooses the best epoch")
    test_path: str | None = option(None, "data for a last evaluation of the best epoch")
    ds_config: str | None = option(None, "DeepSpeed JSON, or the name of one under ds_configs/; default: zero1")
    tensorboard_dir: str | None = option(None, "TensorBoard folder; default: tensorboard in the output folder")
    log_path: str | None = option(None, "also write the log lines of rank 0 to this file")


@dataclass(frozen=True)
class FinetuneTraining:
    """Length, batch, and what is trained."""

    batch_size: int = option(32, "examples in a micro-batch of one rank")
    accumulation_steps: int = option(1, "micro-batches in an update")
    seq_length: int | None = option(
        None, "longest row in tokens, longer texts are cut and counted; default: 128, or the model's positions if fewer"
    )
    epochs_num: int = option(3, "passes over the training data")
    report_steps: int = option(100, "micro-batches between reports")
    seed: int = option(7, "seed of new weights, order and dropout")
    early_stopping: int = option(0, "stop after this many evaluations without a better result; 0: never")
    freeze_embedding: bool = option(False, "keep the embedding as it is")
    freeze_layers: int = option(0, "keep the embedding and this many of the lowest layers as they are")
    layer_lr_decay: float = option(1.0, "learning rate of a layer = this factor times that of the layer above")
    r_drop_alpha: float = option(0.0, "weight of how far two passes with different dropout are apart; 0: one pass")
    map_labels: bool = option(False, "labels are names, numbered in sorted order; default: numbers from 0")
    loader_workers: int = option(1, "background workers that prepare batches, per rank; 0: in the training thread")


@dataclass(frozen=True)
class AdversarialConfig:
    """Training on perturbed embeddings beside the plain ones (Miyato et al. 2017; Madry et al. 2018)."""

    use_adv: bool = option(False, "adversarial training")
    adv_type: str = option("fgm", "fgm: one step; pgd: several, projected", ("fgm", "pgd"))
    fgm_epsilon: float = option(1e-6, "fgm: length of the step")
    pgd_k: int = option(3, "pgd: steps")
    pgd_epsilon: float = option(1.0, "pgd: largest distance from the plain embeddings")
    pgd_alpha: float = option(0.3, "pgd: length of a step")


@dataclass(frozen=True)
class LoraConfig:
    """Low-rank adapters on the query and value projections (Hu et al. 2021); needs the package peft."""

    use_lora: bool = option(False, "train adapters only; the result holds the whole weights with the adapters added")
    lora_r: int = option(8, "rank of the adapters")
    lora_alpha: float = option(16.0, "scale of the adapters, divided by the rank")
    lora_dropout: float = option(0.0, "dropout before the adapters")


@dataclass(frozen=True)
class ClassifierOptions:
    """Classification of texts and pairs."""

    soft_targets: bool = option(False, "learn from the column `logits` too (distillation)")
    soft_alpha: float = option(0.5, "weight of the soft targets")
    class_weights: tuple[float, ...] = option((), "weight of each class in the loss; default: all 1")


@dataclass(frozen=True)
class ClassifierMtOptions:
    """Classification of texts and pairs of several datasets with one encoder."""

    dataset_path_list: tuple[str, ...] = option(
        (), "folders of the datasets, each with a train and a dev file: .tsv, .jsonl or .parquet"
    )
    labels_num_list: tuple[int, ...] = option((), "classes of each dataset; needed to predict with a UER .bin only")


@dataclass(frozen=True)
class NerOptions:
    """Tagging of tokens."""

    label2id_path: str | None = option(None, "JSON file of the tags, tag -> number")
    crf_target: bool = option(False, "a conditional random field over the tags; needs the package pytorch-crf")


@dataclass(frozen=True)
class MultiLabelOptions:
    """Several labels for each text."""


@dataclass(frozen=True)
class RegressionOptions:
    """A number for each text or pair."""


@dataclass(frozen=True)
class DbqaOptions(ClassifierOptions):
    """Ranking of sentences by whether they answer a question."""


@dataclass(frozen=True)
class CmrcOptions:
    """Answers that stand in a context."""

    doc_stride: int = option(128, "characters between the beginnings of a long context's windows")

    def __post_init__(self) -> None:
        if self.doc_stride < 1:
            raise UserError(f"--doc_stride is {self.doc_stride}; expected a positive integer.")


@dataclass(frozen=True)
class PromptOptions:
    """Classification by filling a blank."""

    prompt_id: str = option("chnsenticorp_char", "name of the prompt")
    prompt_path: str | None = option(None, "JSON file of prompts; default: UER-py's two")


@dataclass(frozen=True)
class SiameseOptions:
    """Classification of pairs that are read apart."""


@dataclass(frozen=True)
class SimcseOptions:
    """Vectors of sentences by contrast."""

    temperature: float = option(0.05, "cosines are divided by it")
    eval_steps: int = option(200, "micro-batches between evaluations; 0: at the end of each epoch")


@dataclass(frozen=True)
class C3Options:
    """Multiple choice about a text."""

    max_choices_num: int = option(4, "choices of a question")


@dataclass(frozen=True)
class ChidOptions:
    """Idioms for blanks."""

    max_choices_num: int = option(10, "candidates for a blank")
    train_answer_path: str | None = option(None, "JSON file of the training data's answers, tag -> number")
    dev_answer_path: str | None = option(None, "JSON file of the dev data's answers, tag -> number")
    test_answer_path: str | None = option(None, "JSON file of the test data's answers, tag -> number")


@dataclass(frozen=True)
class Text2TextOptions:
    """Texts to texts with a decoder."""

    tgt_seq_length: int = option(32, "longest target in tokens")


TASK_OPTIONS: dict[str, type] = {
    "classifier": ClassifierOptions,
    "classifier_mt": ClassifierMtOptions,
    "prompt": PromptOptions,
    "siamese": SiameseOptions,
    "simcse": SimcseOptions,
    "text2text": Text2TextOptions,
    "c3": C3Options,
    "chid": ChidOptions,
    "multi_label": MultiLabelOptions,
    "regression": RegressionOptions,
    "dbqa": DbqaOptions,
    "ner": NerOptions,
    "cmrc": CmrcOptions,
}
"""Task -> its own options."""


@dataclass(frozen=True)
class FinetuneRun:
    """Everything that decides a fine-tuning run; `model` are the model keys given on the command line."""

    task: str
    options: Any
    paths: FinetunePaths
    training: FinetuneTraining
    optim: OptimConfig
    adversarial: AdversarialConfig
    lora: LoraConfig
    tokenizer: TokenizerConfig
    model: dict[str, Any] = field(default_factory=dict)
    engine: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check(self)

    def to_dict(self) -> dict[str, Any]:
        """JSON data: every part without its defaults, and the whole engine JSON."""
        names = ("options", "paths", "training", "optim", "adversarial", "lora", "tokenizer")
        parts = {name: non_default_values(getattr(self, name)) for name in names}
        return {"task": self.task, **parts, "model": self.model, "engine": self.engine}


def _check(run: FinetuneRun) -> None:
    training = run.training
    for name in ("batch_size", "accumulation_steps", "seq_length", "report_steps"):
        value = getattr(training, name)
        if value is not None and value < 1:
            raise UserError(f"--{name} is {getattr(training, name)}; expected a positive integer.")
    for name in ("epochs_num", "early_stopping", "freeze_layers", "loader_workers"):
        if getattr(training, name) < 0:
            raise UserError(f"--{name} is {getattr(training, name)}; expected 0 or more.")
    if not 0.0 < training.layer_lr_decay <= 1.0:
        raise UserError(f"--layer_lr_decay is {training.layer_lr_decay}; expected a factor above 0, at most 1.")
    if run.optim.learning_rate <= 0:
        raise UserError(f"--learning_rate is {run.optim.learning_rate}; expected a positive number.")
    if not 0.0 <= run.optim.warmup <= 1.0:
        raise UserError(f"--warmup is {run.optim.warmup}; expected a fraction of all updates, from 0 to 1.")
    if training.r_drop_alpha < 0:
        raise UserError(f"--r_drop_alpha is {training.r_drop_alpha}; expected 0 or more.")
    if training.r_drop_alpha and run.adversarial.use_adv:
        raise UserError("--r_drop_alpha and --use_adv each change the loss; give one of them.")
    if run.lora.use_lora:
        _check_lora(run)


def _check_lora(run: FinetuneRun) -> None:
    lora = run.lora
    if lora.lora_r < 1 or lora.lora_alpha <= 0 or not 0.0 <= lora.lora_dropout < 1.0:
        raise UserError(
            f"--lora_r is {lora.lora_r}, --lora_alpha {lora.lora_alpha}, --lora_dropout {lora.lora_dropout}; "
            "expected a positive integer, a positive number, and a probability below 1."
        )
    if run.paths.pretrained_model_path is None:
        raise UserError("--use_lora adapts a model that has learnt something; give --pretrained_model_path.")
    if run.adversarial.use_adv:
        raise UserError("--use_adv perturbs embeddings that are trained, which --use_lora freezes; give one of them.")


@dataclass(frozen=True)
class PredictPaths:
    """What is read and written when predicting."""

    load_model_path: str = option(
        "", "the fine-tuned model: folder of a fine-tuning run, UER .bin, or Hugging Face folder"
    )
    test_path: str = option("", "data without labels: .tsv with a header line, .jsonl or .parquet")
    prediction_path: str = option(
        "", "where answers are written: .tsv, .jsonl, .parquet by its ending; others: as UER-py writes this task's"
    )
    config_path: str | None = option(None, "model JSON, or the name of one; default: the one beside the weights")
    batch_size: int = option(64, "examples in a batch of one process")
    seq_length: int | None = option(None, "longest row in tokens; default: that of the training, else 128")
    output_logits: bool = option(False, "also write the scores of all classes")
    output_prob: bool = option(False, "also write the probabilities of all classes")


@dataclass(frozen=True)
class PredictRun:
    """Everything that decides a prediction; `given` are the task's own options on the command line."""

    task: str
    paths: PredictPaths
    tokenizer: TokenizerConfig
    given: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    labels_num: int | None = None

    def __post_init__(self) -> None:
        for name in ("load_model_path", "test_path", "prediction_path"):
            if not getattr(self.paths, name):
                raise UserError(f"--{name} is missing; {_fields(PredictPaths)[name]}.")
        paths = self.paths
        for name, value in (("batch_size", paths.batch_size), ("seq_length", paths.seq_length)):
            if value is not None and value < 1:
                raise UserError(f"--{name} is {value}; expected a positive integer.")

    def options(self, saved: dict[str, Any] | None = None) -> Any:
        """The task's own options: those of the training (`saved`), and over them what was given."""
        cls = TASK_OPTIONS[self.task]
        return cls(**read_values(cls, {**(saved or {}), **self.given}, "task.json"))


def _fields(cls: type) -> dict[str, str]:
    return {f.name: f.metadata["help"] for f in dataclasses.fields(cls)}
