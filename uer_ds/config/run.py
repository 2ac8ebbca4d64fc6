"""`RunConfig`: one training run, made once at the door (defaults < model JSON < recipe < flags), printed, saved, never
changed.

Names are UER-py's options with UER-py's defaults. Units: a *step* is a micro-batch on one rank, as in UER-py; an
*update* is one optimizer step, `accumulation_steps` micro-batches on every rank. With `global_batch_size`, a step is an
update: how many micro-batches it takes follows from the number of ranks (`uer_ds.config.batches`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from uer_ds.config.data import DataConfig
from uer_ds.config.model import ModelConfig
from uer_ds.config.options import Options, non_default_values, option
from uer_ds.config.sharing import Sharing, check_sharing
from uer_ds.errors import UserError
from uer_ds.objective_specs import OBJECTIVE_SPECS

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


AUTO = -1
"""A micro-batch that is chosen when the run starts (`uer_ds.plan.auto`)."""

OPTIMIZERS = ("adamw", "adafactor", "lamb", "lion", "muon")


@dataclass(frozen=True)
class OptimConfig(Options):
    """Optimizer and schedule."""

    learning_rate: float = option(2e-5, "peak learning rate", above=0)
    warmup: float = option(0.1, "warm-up as a fraction of all updates", least=0, most=1)
    lr_decay: float = option(0.5, "tri_stage: decay stage as a fraction of all updates", least=0, most=1)
    optimizer: str = option("adamw", "optimizer; all but adamw and lion need ZeRO stage 0", OPTIMIZERS)
    scheduler: str = option("linear", "learning-rate schedule", SCHEDULERS)
    weight_decay: float = option(0.01, "decay of weights; biases and norms are never decayed", least=0)
    beta1: float = option(0.9, "adamw, lamb, lion, muon's AdamW: decay rate of the first moment", least=0, below=1)
    beta2: float = option(
        0.999, "decay rate of the second moment; lion: of its only one, 0.99 is usual", least=0, below=1
    )
    correct_bias: bool = option(False, "adamw: bias correction (UER-py has none)")
    max_grad_norm: float = option(0.0, "clip gradients at this norm; 0: no clipping, as UER-py", least=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.warmup == 0 and self.scheduler in ("inverse_sqrt", "tri_stage"):
            raise UserError(f"--scheduler {self.scheduler} needs a warm-up, found --warmup 0; give a fraction above 0.")
        if self.scheduler == "tri_stage" and self.warmup + self.lr_decay > 1:
            raise UserError(
                f"--warmup {self.warmup} and --lr_decay {self.lr_decay} are more than the whole run; tri_stage needs "
                "fractions whose sum is at most 1."
            )


@dataclass(frozen=True)
class TrainConfig(Options):
    """Length, batch, reports, checkpoints."""

    total_steps: int = option(
        100000,
        "micro-batches a rank trains on, updates = total_steps / accumulation_steps; with global_batch_size updates",
        least=1,
    )
    batch_size: int = option(
        32, "sequences in a micro-batch of one rank; auto: as many as fit into memory", words={"auto": AUTO}, least=1
    )
    accumulation_steps: int | None = option(
        None,
        "micro-batches in an update; default: 1, or as many as keep the global batch of a run that goes on",
        least=1,
    )
    global_batch_size: int | None = option(
        None,
        "sequences in an update over all ranks; accumulation_steps follows from it, and all *_steps options count "
        "updates, so that a run on another number of GPUs is the same run",
        least=1,
    )
    steps_per_update: int | None = option(None, "steps of the options in an update", internal=True, least=1)
    sequence_parallel_size: int = option(
        1, "processes that share each row, for long rows (DeepSpeed's Ulysses); as one for batch sizes", least=1
    )
    tensor_parallel_size: int = option(
        1, "processes that share each layer, for wide models (DeepSpeed's AutoTP); as one for batch sizes", least=1
    )
    save_checkpoint_steps: int = option(10000, "micro-batches between checkpoints", least=1)
    report_steps: int = option(100, "micro-batches between reports", least=1)
    eval_steps: int = option(0, "micro-batches between evaluations; 0: at the start and the end only", least=0)
    eval_samples: int = option(0, "sequences of the held-out dataset used in an evaluation; 0: all", least=0)
    keep_checkpoints: int = option(0, "newest checkpoints to keep; 0: all", least=0)
    keep_every_checkpoint: int = option(
        0, "with keep_checkpoints: keep every K-th (at K x save_checkpoint_steps, 2 K x ...) for ever; 0: none", least=0
    )
    save_weights: str = option(
        "safetensors",
        "plain float32 weights in each checkpoint: model.safetensors, UER's model.bin, or none (`uer-ds convert` makes "
        "them later)",
        ("safetensors", "uer", "none"),
    )
    async_checkpoint: bool = option(
        False, "write checkpoints in the background; costs host memory for one copy of this rank's part"
    )
    seed: int = option(7, "seed of weights, order, masking and dropout")
    deep_init: bool = option(False, "initialise residual projections with N(0, 0.02 / sqrt(2 L))")
    no_resume: bool = option(False, "start over although the output folder holds a checkpoint; needs --force then")
    force: bool = option(False, "with --no_resume: remove the checkpoints in the output folder")
    max_minutes: float = option(0.0, "save and stop after this many minutes; 0: no limit", least=0)
    max_skipped_updates: int = option(
        20, "updates in a row whose loss or gradient is not finite that end the run", least=1
    )
    stall_seconds: float = option(60.0, "wait for a batch after which a process says that its data stall", above=0)
    network_timeout_seconds: float = option(
        60.0, "a machine that has not answered for so long is lost; the others stop", least=3
    )
    compile: bool = option(
        False, "compile the parts between matrix products (torch.compile); the first updates take longer"
    )
    deepspeed_checkpoint_activations: bool = option(False, "recompute activations in the backward pass")
    deepspeed_checkpoint_layers_num: int = option(1, "layers in one recomputed piece", least=1)


@dataclass(frozen=True)
class PathConfig(Options):
    """Where things are read and written."""

    recipe: str | None = option(
        None, "options of a whole run: a name that `uer-ds recipes` lists, or a JSON file; flags go before it"
    )
    output_model_path: str | None = option(None, "folder of the run: checkpoints, metrics.jsonl, tensorboard, run.json")
    pretrained_model_path: str | None = option(
        None, "weights to start from: UER .bin, safetensors or checkpoint folder"
    )
    config_path: str | None = option(None, "model JSON, or a name that `uer-ds models` lists; default: bert/base")
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
        return self.train.total_steps // self.steps_per_update

    @property
    def accumulation(self) -> int:
        """Micro-batches in an update; decided by `settle_batches`."""
        return self.train.accumulation_steps or 1

    @property
    def steps_per_update(self) -> int:
        """What the `*_steps` options count, in an update: micro-batches, or updates themselves."""
        return self.train.steps_per_update or (1 if self.train.global_batch_size else self.accumulation)

    @property
    def sharing(self) -> Sharing:
        """Which processes work on the same samples."""
        return Sharing(self.train.sequence_parallel_size, self.train.tensor_parallel_size)

    def updates(self, steps: int) -> int:
        """A number of steps as a number of updates, at least one."""
        return max(1, steps // self.steps_per_update)

    def to_dict(self) -> dict[str, Any]:
        """JSON data: model, data, optim, train and paths without defaults, and the whole engine JSON."""
        parts = {name: non_default_values(getattr(self, name)) for name in ("data", "optim", "train", "paths")}
        return {"model": self.model.to_dict(), **parts, "engine": self.engine}


def _check_run(run: RunConfig) -> None:
    if run.total_updates < 1:
        raise UserError(
            f"--total_steps {run.train.total_steps} is less than --accumulation_steps {run.steps_per_update}, "
            "so not one update would be made; raise the first or lower the second."
        )
    if run.data.dataset_weights and len(run.data.dataset_weights) != len(run.data.dataset_path):
        raise UserError(
            f"--dataset_weights has {len(run.data.dataset_weights)} numbers and --dataset_path "
            f"{len(run.data.dataset_path)} folders; give one weight for each folder."
        )
    _check_model_of_run(run)
    _check_compiled(run)
    check_sharing(run)
    _check_positions(run.data, run.model)


def _check_model_of_run(run: RunConfig) -> None:
    """What pre-training asks of a model."""
    model = run.model
    if not model.target:
        makers = OBJECTIVE_SPECS.get(model.data_processor or run.data.data_processor or "")
        wanted = " ".join(makers.targets) if makers else "that of the objective, for example mlm"
        raise UserError(f"target is empty, so there is nothing to train; set target to {wanted}.")
    if run.train.deepspeed_checkpoint_activations and "transformer" not in (model.encoder, model.decoder):
        raise UserError(
            f"--deepspeed_checkpoint_activations recomputes layers of transformers, but encoder is {model.encoder!r}; "
            "remove it."
        )


def _check_compiled(run: RunConfig) -> None:
    """A compiled region reads parameters where they are, so they must be there, whole."""
    if not run.train.compile:
        return
    if (run.engine.get("zero_optimization") or {}).get("stage") == 3:
        raise UserError(
            "--compile with ZeRO stage 3, whose parameters are gathered module by module; leave it out, or let "
            'DeepSpeed compile: "compile": {"deepcompile": true} in the DeepSpeed JSON.'
        )
    if run.train.tensor_parallel_size > 1:
        raise UserError("--compile with --tensor_parallel_size, whose layers talk to other processes; leave one out.")


def _check_positions(data: DataConfig, model: ModelConfig) -> None:
    """Rows must not be longer than the position table that they are looked up in."""
    spec = OBJECTIVE_SPECS.get(data.data_processor or "")
    target = "tgt_seq_length" if spec and spec.own_target_length else "seq_length"
    for option_name, parts in (("seq_length", model.embedding), (target, model.tgt_embedding if model.decoder else ())):
        length = getattr(data, option_name)
        if "pos" in parts and length and length > model.max_seq_length:
            raise UserError(
                f"--{option_name} {length} is longer than the position table of the model "
                f"(max_seq_length {model.max_seq_length}); shorten the rows or raise --max_seq_length."
            )
