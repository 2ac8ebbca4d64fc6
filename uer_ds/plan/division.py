"""How DeepSpeed divides a model over its processes, read from a DeepSpeed JSON: what memory and time depend on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

HALF, FULL = 2, 4
"""Bytes of a number in bfloat16 or float16, and in float32."""

BUCKET = 500_000_000
"""DeepSpeed's bucket, in elements, where the JSON names none; and that of stage 0, always."""

LIVE = PIECE = 1_000_000_000
"""DeepSpeed's defaults: gathered parameters at stage 3, and parameters that its optimizer moves at a time."""


@dataclass(frozen=True)
class Division:
    """Attributes:
    stage: of ZeRO, 0 to 3.
    processes: n, that share what the stage divides.
    width: bytes of a number of the model.
    offload: the optimizer (at stage 3 with the weights) lives in the host's memory.
    overlap: communication runs beside the backward pass; a second bucket is filled meanwhile.
    bucket: elements of gradients that are sent together.
    live: elements of gathered weights that stage 3 keeps.
    piece: elements that stage 3's optimizer moves at a time.
    """

    stage: int
    processes: int
    width: int
    offload: bool = False
    overlap: bool = False
    bucket: int = BUCKET
    live: int = LIVE
    piece: int = PIECE

    @property
    def low_precision(self) -> bool:
        """Weights are rounded copies of float32 ones."""
        return self.width < FULL

    def at(self, stage: int, offload: bool) -> Division:
        """The same for another stage, with the buckets of `ds_configs/`."""
        return replace(self, stage=stage, offload=offload, overlap=stage >= 2)


def division_of(engine: Mapping[str, Any], processes: int) -> Division:
    """What a DeepSpeed JSON says."""
    zero = engine.get("zero_optimization") or {}
    stage = _number(zero, "stage", 0)
    half = any((engine.get(name) or {}).get("enabled") for name in ("bf16", "fp16", "bfloat16"))
    devices = [(zero.get(name) or {}).get("device", "none") for name in ("offload_optimizer", "offload_param")]
    overlap = zero.get("overlap_comm")
    return Division(
        stage,
        processes,
        HALF if half else FULL,
        any(device != "none" for device in devices),
        stage == 3 if overlap is None else bool(overlap),
        _number(zero, "reduce_bucket_size", BUCKET),
        _number(zero, "stage3_max_live_parameters", LIVE),
        _number(zero, "sub_group_size", PIECE),
    )


def _number(values: Mapping[str, Any], key: str, default: int) -> int:
    found = values.get(key, default)
    return int(found) if isinstance(found, (int, float)) else default  # "auto"
