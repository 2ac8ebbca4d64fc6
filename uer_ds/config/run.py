"""`RunConfig`: one training run, made once at the door (defaults < model JSON < recipe < flags), printed, saved, never
changed.

Names are UER-py's options with UER-py's defaults. Units: a *step* is a micro-batch on one rank, as in UER-py; an
*update* is one optimizer step, `accumulation_steps` micro-batches on every rank.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from uer_ds.config.model import ModelConfig
from uer_ds.config.options import non_default_values, option
from uer_ds.errors import UserError
from uer_ds.registry import OBJECTIVES, TOKENIZERS

SCHEDULERS = (
    "linear",
    "cosine",
    "cosine_with_restarts",
    "polynomial",
    "constant",
    "constant_with_warmup",
    "inverse_sqrt",
    "tri_stage",
)


@dataclass(frozen=True)
class DataConfig:
    """Which samples are drawn, from which datasets."""

    dataset_path: tuple[str, ...] = option(("dataset.pt",), "dataset folders made by `uer-ds preprocess`")
    dataset_weights: tuple[float, ...] = option((), "share of each dataset in the samples; default: by size")
    eval_dataset_path: str | None = option(
        None, "held-out dataset, evaluated at the start, every eval_steps and at the end"
    )
    data_processor: str | None = option(
        None, "objective; default: that of the model JSON, of the dataset, bert", OBJECTIVES
    )
    seq_length: int | None = option(None, "tokens a row; default: the one given to preprocess, else 128")
    tgt_seq_length: int | None = option(None, "target tokens a row; default: the one given to preprocess, else 128")
    no_packing: bool = option(False, "one document a row with padding (UER-py's way) instead of full rows")
    whole_word_masking: bool = option(False, "mask all pieces of a word together")
    span_masking: bool = option(False, "mask spans of tokens")
    span_geo_prob: float = option(0.2, "parameter of the geometric distribution of span lengths")
    span_max_length: int = option(10, "longest span in tokens")
    short_seq_prob: float = option(0.1, "bert, albert: share of shorter sequences")
    sentence_selection_strategy: str = option("lead", "gsg: which sentences are the target", ("lead", "random"))
    loader_workers: int = option(1, "background workers that prepare batches, per rank; 0: in the training thread")


@dataclass(frozen=True)
class TokenizerConfig:
    """A tokenizer by its files. A dataset brings its own: give these to have them compared."""

    tokenizer: str = option("bert", "tokenizer", TOKENIZERS)
    vocab_path: str | None = option(None, "vocabulary file, one token a line")
    merges_path: str | None = option(None, "bpe: merges file")
    spm_model_path: str | None = option(None, "sentencepiece model; then no vocabulary file is needed")
    do_lower_case: str = option("true", "bert: lower-case and strip accents", ("true", "false"))
    special_tokens_map_path: str | None = option(None, "JSON of the special tokens' names, where they are unusual")


@dataclass(frozen=True)
class OptimConfig:
    """Optimizer and schedule."""

    learning_rate: float = option(2e-5, "peak learning rate")
    warmup: float = option(0.1, "warm-up as a fraction of all updates")
    lr_decay: float = option(0.5, "tri_stage: decay stage as a fraction of all updates")
    optimizer: str = option("adamw", "optimizer", ("adamw", "adafactor"))
    scheduler: str = option("linear", "learning-rate schedule", SCHEDULERS)
    weight_decay: float = option(0.01, "decay of weights; biases and norms are never decayed")
    beta1: float = option(0.9, "adamw: decay rate of the first moment")
    beta2: float = option(0.999, "adamw: decay rate of the second moment")
    correct_bias: bool = option(False, "adamw: bias correction (UER-py has none)")
    max_grad_norm: float = option(0.0, "clip gradients at this norm; 0: no clipping, as UER-py")


@dataclass(frozen=True)
class TrainConfig:
    """Length, batch, reports, checkpoints."""

    total_steps: int = option(100000, "micro-batches a rank trains on; updates = total_steps / accumulation_steps")
    batch_size: int = option(32, "sequences in a micro-batch of one rank")
    accumulation_steps: int = option(1, "micro-batches in an update")
    save_checkpoint_steps: int = option(10000, "micro-batches between checkpoints")
    report_steps: int = option(100, "micro-batches between reports")
    eval_steps: int = option(0, "micro-batches between evaluations; 0: at the start and the end only")
    eval_samples: int = option(0, "sequences of the held-out dataset used in an evaluation; 0: all")
    keep_checkpoints: int = option(0, "newest checkpoints to keep; 0: all")
    seed: int = option(7, "seed of weights, order, masking and dropout")
    deep_init: bool = option(False, "initialise residual projections with N(0, 0.02 / sqrt(2 L))")
    no_resume: bool = option(False, "start over although the output folder holds a checkpoint; needs --force then")
    force: bool = option(False, "with --no_resume: remove the checkpoints in the output folder")
    max_minutes: float = option(0.0, "save and stop after this many minutes; 0: no limit")
    deepspeed_checkpoint_activations: bool = option(False, "recompute activations in the backward pass")
    deepspeed_checkpoint_layers_num: int = option(1, "layers in one recomputed piece")


@dataclass(frozen=True)
class PathConfig:
    """Where things are read and written."""

    output_model_path: str | None = option(None, "folder of the run: checkpoints, metrics.jsonl, tensorboard, run.json")
    pretrained_model_path: str | None = option(
        None, "weights to start from: UER .bin, safetensors or checkpoint folder"
    )
    config_path: str | None = option(None, "model JSON, or the name of one under models/; default: bert/base")
    ds_config: str | None = option(None, "DeepSpeed JSON, or the name of one under ds_configs/; default: zero1")
    tensorboard_dir: str | None = option(None, "TensorBoard folder; default: tensorboard in the output folder")
    log_path: str | None = option(None, "also write the log lines of rank 0 to this file")


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides a pre-training run."""

    model: ModelConfig
    data: DataConfig
    optim: OptimConfig
    train: TrainConfig
    paths: PathConfig
    engine: dict[str, Any]
    """The DeepSpeed JSON as the user gave it (memory, precision, communication)."""

    def __post_init__(self) -> None:
        _check_run(self)

    @property
    def total_updates(self) -> int:
        """Optimizer steps of the whole run."""
        return self.train.total_steps // self.train.accumulation_steps

    def updates(self, steps: int) -> int:
        """A number of micro-batches as a number of updates, at least one."""
        return max(1, steps // self.train.accumulation_steps)

    def to_dict(self) -> dict[str, Any]:
        """JSON data: model, data, optim, train and paths without defaults, and the whole engine JSON."""
        parts = {name: non_default_values(getattr(self, name)) for name in ("model", "data", "optim", "train", "paths")}
        return {**parts, "engine": self.engine}


def _check_run(run: RunConfig) -> None:
    positive = {
        "--total_steps": run.train.total_steps,
        "--batch_size": run.train.batch_size,
        "--accumulation_steps": run.train.accumulation_steps,
        "--save_checkpoint_steps": run.train.save_checkpoint_steps,
        "--report_steps": run.train.report_steps,
        "--seq_length": 1 if run.data.seq_length is None else run.data.seq_length,
        "--tgt_seq_length": 1 if run.data.tgt_seq_length is None else run.data.tgt_seq_length,
    }
    for name in ("keep_checkpoints", "eval_steps", "eval_samples", "max_minutes"):
        if getattr(run.train, name) < 0:
            raise UserError(f"--{name} is {getattr(run.train, name)}; expected 0 or more.")
    if run.data.loader_workers < 0:
        raise UserError(f"--loader_workers is {run.data.loader_workers}; expected 0 or more.")
    if run.optim.warmup == 0 and run.optim.scheduler in ("inverse_sqrt", "tri_stage"):
        raise UserError(
            f"--scheduler {run.optim.scheduler} needs a warm-up, found --warmup 0; give a fraction above 0."
        )
    for name, value in positive.items():
        if value < 1:
            raise UserError(f"{name} is {value}; expected a positive integer.")
    if run.total_updates < 1:
        raise UserError(
            f"--total_steps {run.train.total_steps} is less than --accumulation_steps {run.train.accumulation_steps}, "
            "so not one update would be made; raise the first or lower the second."
        )
    if run.optim.learning_rate <= 0:
        raise UserError(f"--learning_rate is {run.optim.learning_rate}; expected a positive number.")
    if not 0.0 <= run.optim.warmup <= 1.0:
        raise UserError(f"--warmup is {run.optim.warmup}; expected a fraction of all updates, from 0 to 1.")
    if run.data.dataset_weights and len(run.data.dataset_weights) != len(run.data.dataset_path):
        raise UserError(
            f"--dataset_weights has {len(run.data.dataset_weights)} numbers and --dataset_path "
            f"{len(run.data.dataset_path)} folders; give one weight for each folder."
        )
    uses_positions = "pos" in run.model.embedding
    if uses_positions and run.data.seq_length and run.data.seq_length > run.model.max_seq_length:
        raise UserError(
            f"--seq_length {run.data.seq_length} is longer than the position table of the model "
            f"(max_seq_length {run.model.max_seq_length}); shorten the rows or raise --max_seq_length."
        )
