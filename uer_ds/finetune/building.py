"""The model and the engine of a fine-tuning run: weights, adapters, frozen parts, rates by layer, adversaries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from uer_ds.config.finetune import FinetuneRun
from uer_ds.engine.ds_config import engine_config, zero_stage
from uer_ds.engine.engine import Engine
from uer_ds.engine.partitioned import gathered, partitioned
from uer_ds.errors import UserError
from uer_ds.finetune.adversarial import Adversarial
from uer_ds.finetune.lora import add_adapters
from uer_ds.finetune.material import Material
from uer_ds.finetune.model import TaskModel, file_name, freeze, rate_factors
from uer_ds.finetune.r_drop import RDrop
from uer_ds.models.init import decays
from uer_ds.models.model import build_model
from uer_ds.models.weights import WeightReport, load_tensors
from uer_ds.train.optim import build_optimizer, whole_matrices

MAY_BE_NEW = ("embedding.seg.",)
"""Parts of a body that a checkpoint may lack: a language model that is to read pairs has no segments of its own."""


def build_engine(material: Material, run: FinetuneRun, world_size: int) -> tuple[Engine, WeightReport | None]:
    """The engine of `run`, and what its weights' file did not have (None for random weights). Collective."""
    where = run.paths.ds_config or "the DeepSpeed configuration"
    config = engine_config(
        run.engine,
        where,
        batch_size=run.training.batch_size,
        accumulation_steps=run.training.accumulation_steps,
        world_size=world_size,
        max_grad_norm=run.optim.max_grad_norm,
        whole_matrices=whole_matrices(run.optim.optimizer),
    )
    if run.adversarial.use_adv and zero_stage(config) == 3:
        raise UserError(f"{where}: --use_adv needs whole embeddings, which ZeRO stage 3 partitions; use stage 0 to 2.")
    model, report = _build_model(material, run, config, where)
    decay = run.training.layer_lr_decay
    optimizer = build_optimizer(model, decays(model), run.optim, rate_factors(model, decay) if decay != 1.0 else None)
    return Engine(model, optimizer, config, where), report


def _build_model(
    material: Material, run: FinetuneRun, config: dict[str, Any], where: str
) -> tuple[nn.Module, WeightReport | None]:
    start = material.start
    torch.manual_seed(run.training.seed)  # the same weights on any number of ranks
    with partitioned(config, where):
        head = material.task.head(start.config, material.labels, run.options)
        model = TaskModel(build_model(start.config), head)
    report = None
    if start.source:
        source = {name: tensor.read for name, tensor in start.source.items()}
        path = Path(str(run.paths.pretrained_model_path))
        report = load_tensors(model, source, path, file_name, MAY_BE_NEW, gathered)
    if run.lora.use_lora:
        add_adapters(model, run.lora, report.missing if report else (), run.training.seed)
    freeze(model, run.training.freeze_embedding, run.training.freeze_layers)
    return _trained(model, run), report


def _trained(model: TaskModel, run: FinetuneRun) -> nn.Module:
    """The model, or what makes its training harder around it."""
    if run.adversarial.use_adv:
        return Adversarial(model, run.adversarial)
    alpha = run.training.r_drop_alpha
    return RDrop(model, alpha) if alpha else model
