"""Options of fine-tuning: what every task shares, and each task's own. Names and defaults are UER-py's.

Units: an *epoch* is one pass over the training file; a *step* is a micro-batch on one rank, as in pre-training.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from uer_ds.config.data import TokenizerConfig
from uer_ds.config.options import Options, non_default_values, option, read_values
from uer_ds.config.run import OptimConfig
from uer_ds.errors import UserError


@dataclass(frozen=True)
class FinetunePaths(Options):
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
class FinetuneTraining(Options):
    """Length, batch, and what is trained."""

    batch_size: int = option(32, "examples in a micro-batch of one rank", least=1)
    accumulation_steps: int = option(1, "micro-batches in an update", least=1)
    seq_length: int | None = option(
        None,
        "longest row in tokens, longer texts are cut and counted; default: 128, or the model's positions if fewer",
        least=1,
    )
    epochs_num: int = option(3, "passes over the training data", least=0)
    report_steps: int = option(100, "micro-batches between reports", least=1)
    seed: int = option(7, "seed of new weights, order and dropout")
    early_stopping: int = option(0, "stop after this many evaluations without a better result; 0: never", least=0)
    freeze_embedding: bool = option(False, "keep the embedding as it is")
    freeze_layers: int = option(0, "keep the embedding and this many of the lowest layers as they are", least=0)
    layer_lr_decay: float = option(
        1.0, "learning rate of a layer = this factor times that of the layer above", above=0, most=1
    )
    r_drop_alpha: float = option(
        0.0, "weight of how far two passes with different dropout are apart; 0: one pass", least=0
    )
    map_labels: bool = option(False, "labels are names, numbered in sorted order; default: numbers from 0")
    loader_workers: int = option(
        1, "background workers that prepare batches, per rank; 0: in the training thread", least=0
    )


@dataclass(frozen=True)
class AdversarialConfig(Options):
    """Training on perturbed embeddings beside the plain ones (Miyato et al. 2017; Madry et al. 2018)."""

    use_adv: bool = option(False, "adversarial training")
    adv_type: str = option("fgm", "fgm: one step; pgd: several, projected", ("fgm", "pgd"))
    fgm_epsilon: float = option(1e-6, "fgm: length of the step", above=0)
    pgd_k: int = option(3, "pgd: steps", least=1)
    pgd_epsilon: float = option(1.0, "pgd: largest distance from the plain embeddings", above=0)
    pgd_alpha: float = option(0.3, "pgd: length of a step", above=0)


@dataclass(frozen=True)
class LoraConfig(Options):
    """Low-rank adapters on the query and value projections (Hu et al. 2021); needs the package peft."""

    use_lora: bool = option(False, "train adapters only; the result holds the whole weights with the adapters added")
    lora_r: int = option(8, "rank of the adapters", least=1)
    lora_alpha: float = option(16.0, "scale of the adapters, divided by the rank", above=0)
    lora_dropout: float = option(0.0, "dropout before the adapters", least=0, below=1)


@dataclass(frozen=True)
class ClassifierOptions(Options):
    """Classification of texts and pairs."""

    soft_targets: bool = option(False, "learn from the column `logits` too (distillation)")
    soft_alpha: float = option(0.5, "weight of the soft targets", least=0, most=1)
    class_weights: tuple[float, ...] = option((), "weight of each class in the loss; default: all 1", least=0)


@dataclass(frozen=True)
class ClassifierMtOptions(Options):
    """Classification of texts and pairs of several datasets with one encoder."""

    dataset_path_list: tuple[str, ...] = option(
        (), "folders of the datasets, each with a train and a dev file: .tsv, .jsonl or .parquet"
    )
    labels_num_list: tuple[int, ...] = option(
        (), "classes of each dataset; needed to predict with a UER .bin only", least=1
    )


@dataclass(frozen=True)
class NerOptions(Options):
    """Tagging of tokens."""

    label2id_path: str | None = option(None, "JSON file of the tags, tag -> number")
    crf_target: bool = option(False, "a conditional random field over the tags; needs the package pytorch-crf")


@dataclass(frozen=True)
class MultiLabelOptions(Options):
    """Several labels for each text."""


@dataclass(frozen=True)
class RegressionOptions(Options):
    """A number for each text or pair."""


@dataclass(frozen=True)
class DbqaOptions(ClassifierOptions):
    """Ranking of sentences by whether they answer a question."""


@dataclass(frozen=True)
class CmrcOptions(Options):
    """Answers that stand in a context."""

    doc_stride: int = option(128, "characters between the beginnings of a long context's windows", least=1)


@dataclass(frozen=True)
class PromptOptions(Options):
    """Classification by filling a blank."""

    prompt_id: str = option("chnsenticorp_char", "name of the prompt")
    prompt_path: str | None = option(None, "JSON file of prompts; default: UER-py's two")


@dataclass(frozen=True)
class SiameseOptions(Options):
    """Classification of pairs that are read apart."""


@dataclass(frozen=True)
class SimcseOptions(Options):
    """Vectors of sentences by contrast."""

    temperature: float = option(0.05, "cosines are divided by it", above=0)
    eval_steps: int = option(200, "micro-batches between evaluations; 0: at the end of each epoch", least=0)


@dataclass(frozen=True)
class C3Options(Options):
    """Multiple choice about a text."""

    max_choices_num: int = option(4, "choices of a question", least=2)


@dataclass(frozen=True)
class ChidOptions(Options):
    """Idioms for blanks."""

    max_choices_num: int = option(10, "candidates for a blank", least=2)
    train_answer_path: str | None = option(None, "JSON file of the training data's answers, tag -> number")
    dev_answer_path: str | None = option(None, "JSON file of the dev data's answers, tag -> number")
    test_answer_path: str | None = option(None, "JSON file of the test data's answers, tag -> number")


@dataclass(frozen=True)
class Text2TextOptions(Options):
    """Texts to texts with a decoder."""

    tgt_seq_length: int = option(32, "longest target in tokens", least=1)


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
        if self.training.r_drop_alpha and self.adversarial.use_adv:
            raise UserError("--r_drop_alpha and --use_adv each change the loss; give one of them.")
        if self.lora.use_lora and self.paths.pretrained_model_path is None:
            raise UserError("--use_lora adapts a model that has learnt something; give --pretrained_model_path.")
        if self.lora.use_lora and self.adversarial.use_adv:
            raise UserError("--use_adv perturbs trained embeddings, which --use_lora freezes; give one of them.")

    def to_dict(self) -> dict[str, Any]:
        """JSON data: every part without its defaults, and the whole engine JSON."""
        names = ("options", "paths", "training", "optim", "adversarial", "lora", "tokenizer")
        parts = {name: non_default_values(getattr(self, name)) for name in names}
        return {"task": self.task, **parts, "model": self.model, "engine": self.engine}


@dataclass(frozen=True)
class PredictPaths(Options):
    """What is read and written when predicting."""

    load_model_path: str = option(
        "", "the fine-tuned model: folder of a fine-tuning run, UER .bin, or Hugging Face folder"
    )
    test_path: str = option("", "data without labels: .tsv with a header line, .jsonl or .parquet")
    prediction_path: str = option(
        "", "where answers are written: .tsv, .jsonl, .parquet by its ending; others: as UER-py writes this task's"
    )
    config_path: str | None = option(None, "model JSON, or the name of one; default: the one beside the weights")
    batch_size: int = option(64, "examples in a batch of one process", least=1)
    seq_length: int | None = option(None, "longest row in tokens; default: that of the training, else 128", least=1)
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
        self.options()  # a number that is out of its range is refused here, before a model is read

    def options(self, saved: dict[str, Any] | None = None) -> Any:
        """The task's own options: those of the training (`saved`), and over them what was given."""
        cls = TASK_OPTIONS[self.task]
        return cls(**read_values(cls, {**(saved or {}), **self.given}, "task.json"))


def _fields(cls: type) -> dict[str, str]:
    return {f.name: f.metadata["help"] for f in dataclasses.fields(cls)}
