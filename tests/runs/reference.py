"""The reference: the same training as a plain torch loop, without deepspeed, in one process.

Nothing of `uer_ds.train.loop` or `uer_ds.engine` is used, so the two can only agree by being right.
"""

from __future__ import annotations

import argparse
from collections.abc import Collection

import torch

from uer_ds.cli import pretrain as command
from uer_ds.config.run import RunConfig
from uer_ds.data.dataset import open_dataset
from uer_ds.data.sampler import Sampler
from uer_ds.models.init import decays
from uer_ds.models.model import build_model
from uer_ds.train.optim import AdamW
from uer_ds.train.pretrain import make_objective
from uer_ds.train.schedules import learning_rate


def read_config(options: list[str]) -> RunConfig:
    """The configuration that these options of `uer-ds pretrain` give."""
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.make_run_config(parser.parse_args(options))


def reference_losses(run: RunConfig, sequences: int, skipped: Collection[int] = ()) -> list[float]:
    """Loss of every update when each takes `sequences` sequences, in float32; `skipped` ones (from 1) move nothing."""
    objective = make_objective(run, [open_dataset(path) for path in run.data.dataset_path])
    sampler = Sampler(len(objective), run.train.seed)
    torch.manual_seed(run.train.seed)
    model = build_model(run.model)
    with_decay = decays(model)
    groups = [
        {"params": [p for n, p in model.named_parameters() if with_decay[n] == flag], "weight_decay": 0.01 * flag}
        for flag in (True, False)
    ]
    optimizer = AdamW(groups, lr=run.optim.learning_rate)
    losses = []
    for update in range(run.total_updates):
        batch = objective.batch(*sampler.update(update * sequences, sequences))
        parts = [total / count for name, (total, count) in model(batch).items() if name.startswith("loss_")]
        loss = torch.stack(parts).sum()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), run.optim.max_grad_norm)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(run.optim, update, run.total_updates)
        if update + 1 not in skipped:
            optimizer.step()
        losses.append(loss.item())
    return losses
