"""How much memory a run needs before its first batch, from its configuration alone."""

from __future__ import annotations

import torch

from uer_ds.config.run import RunConfig
from uer_ds.engine.ds_config import zero_stage
from uer_ds.launch.place import Place
from uer_ds.models.model import build_model


def count_parameters(run: RunConfig | None) -> int:
    """Exactly, without allocating any; 0 without a run."""
    if run is None:
        return 0
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in build_model(run.model).parameters())


def needed_bytes(run: RunConfig | None, parameters: int, place: Place) -> float:
    """About what the processes of this machine need before the first batch.

    Weights and gradients (4 bytes each, 2 in half precision), two moments (8 bytes), float32 masters (4 bytes) but at
    stage 0 in float32, where the weights are their own; ZeRO's stage says which are cut over all processes.
    """
    if run is None:
        return 0.0
    half = any((run.engine.get(name) or {}).get("enabled") for name in ("bf16", "fp16"))
    share, width, stage = 1 / place.world_size, 2 if half else 4, zero_stage(run.engine)
    weights = width * (share if stage >= 3 else 1)
    gradients = width * (share if stage >= 2 else 1)
    state = (12 if half or stage else 8) * (share if stage else 1)
    return place.local_world_size * parameters * (weights + gradients + state)
