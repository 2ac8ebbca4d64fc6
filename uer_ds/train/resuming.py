"""Whether a checkpoint belongs to this run, and in what its division over processes differs from ours.

*Identity* must be equal: model, samples and their order, kind of optimizer. *Layout* may change from start to start:
number of processes, ZeRO stage, offload, precision, micro-batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from uer_ds.config.layout import Layout
from uer_ds.config.options import non_default_values
from uer_ds.config.run import RunConfig
from uer_ds.data.dataset import Dataset
from uer_ds.engine.ds_config import engine_layout
from uer_ds.errors import UserError
from uer_ds.train.checkpoint import State

MAY_CHANGE = ("dataset_path", "eval_dataset_path", "loader_workers")
"""Data options that may differ when a run is resumed.

Paths (the datasets' fingerprints count) and what only costs time.
"""

ADVICE = "use the same again, or another --output_model_path with --pretrained_model_path"


def identity(run: RunConfig, datasets: list[Dataset]) -> dict[str, Any]:
    """What must not change in the course of a run."""
    first = datasets[0].manifest
    model = {f"model.{key}": value for key, value in run.model.to_dict().items() if key != "dropout"}
    data = {f"data.{key}": value for key, value in non_default_values(run.data).items() if key not in MAY_CHANGE}
    target = {"target tokenizer": first.target_tokenizer.fingerprint} if first.target_tokenizer else {}
    return {
        **model,
        **data,
        "datasets": [dataset.manifest.fingerprint for dataset in datasets],
        "tokenizer": first.tokenizer.fingerprint,
        **target,
        "--seed": run.train.seed,
        "--optimizer": run.optim.optimizer,
    }


def check_same_run(checkpoint: Path, state: State, ours: Mapping[str, Any]) -> None:
    """Refuse to go on with a checkpoint of another model, vocabulary or dataset, or of another order of samples."""
    for key in {**state.identity, **ours}:
        before, now = state.identity.get(key, "default"), ours.get(key, "default")
        if key == "datasets" and before != now:
            raise UserError(
                f"{checkpoint}: was trained on other data than there is now (fingerprint {_short(before)}, now "
                f"{_short(now)}); use the same dataset, or another --output_model_path with --pretrained_model_path."
            )
        if before != now:
            raise UserError(f"{checkpoint}: was trained with {key} {before}, this run has {now}; {ADVICE}.")


def _short(fingerprints: Any) -> str:
    return " ".join(str(fingerprint)[:8] for fingerprint in fingerprints)


def layout(run: RunConfig, processes: int) -> Layout:
    """How this run is divided."""
    return Layout(
        processes=processes,
        **engine_layout(run.engine),
        batch_size=run.train.batch_size,
        accumulation_steps=run.accumulation,
        steps_per_update=run.steps_per_update,
        sharing=run.sharing,
    )


def check_division(checkpoint: Path, before: Layout, now: Layout) -> None:
    """Refuse what cannot be divided anew: state on NVMe, and layers that processes share."""
    if before.divided_like(now):
        return
    for kept in (before, now):
        shared = "what processes with shared layers wrote" if kept.sharing.layers > 1 else ""
        if what := "state on NVMe" if "nvme" in kept.offload else shared:
            raise UserError(
                f"{checkpoint}: {what} can only be continued as it was written ({before.division}), not by "
                f"{now.division}; use the same --ds_config and number of processes."
            )
