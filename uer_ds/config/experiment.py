"""Experiments of DeepSpeed's autotuner: the user's command with another configuration, as text in place of the file.

DeepSpeed 0.19, autotuning/scheduler.py: the configuration comes as URL-safe base64, and its micro-batch is what is
tried, so here the JSON owns the batch sizes. An experiment ends inside one of its first updates and must leave no trace
in the run whose command it is.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import shutil
import tempfile
from typing import Any

from uer_ds.config.run import RunConfig
from uer_ds.errors import UserError

EXPERIMENT = "the autotuner's configuration"
"""What stands for the path of an experiment's JSON."""

NEVER = 10**6
"""Steps that no experiment reaches."""


def experiment(text: str) -> dict[str, Any] | None:
    """The DeepSpeed JSON that `text` is, passed by the autotuner; None for all else, such as a path."""
    try:
        found = json.loads(base64.b64decode(text, altchars=b"-_", validate=True))
    except ValueError:  # no base64, no text, no JSON
        return None
    return found if isinstance(found, dict) else None


def as_experiment(run: RunConfig) -> RunConfig:
    """`run` with the batch sizes of its DeepSpeed JSON, in a folder of its own, which `forget` removes.

    It resumes nothing, saves nothing, evaluates nothing. Raises UserError for a JSON without a micro-batch.
    """
    sizes = [run.engine.get("train_micro_batch_size_per_gpu"), run.engine.get("gradient_accumulation_steps", 1)]
    if not all(isinstance(size, int) and size > 0 for size in sizes):
        raise UserError(
            f"{EXPERIMENT} has train_micro_batch_size_per_gpu {sizes[0]} and gradient_accumulation_steps {sizes[1]}, "
            "expected positive integers; give the autotuner a range of micro-batches in its section 'autotuning'."
        )
    folder = tempfile.mkdtemp(prefix="uer_ds_experiment_")
    train = dataclasses.replace(
        run.train,
        batch_size=sizes[0],
        accumulation_steps=sizes[1],
        global_batch_size=None,
        steps_per_update=None,
        total_steps=NEVER * sizes[1],
        save_checkpoint_steps=NEVER * sizes[1],
        report_steps=sizes[1],
        eval_steps=0,
        no_resume=True,
        force=False,
        async_checkpoint=False,
        max_minutes=0.0,
    )
    paths = dataclasses.replace(run.paths, output_model_path=folder, tensorboard_dir=None, log_path=None)
    return dataclasses.replace(
        run, train=train, paths=paths, data=dataclasses.replace(run.data, eval_dataset_path=None)
    )


def forget(run: RunConfig) -> None:
    """Remove the folder of an experiment; nothing for any other run."""
    if run.paths.ds_config == EXPERIMENT:
        shutil.rmtree(str(run.paths.output_model_path), ignore_errors=True)
