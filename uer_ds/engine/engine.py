"""`Engine`: one model under DeepSpeed, seen through the few verbs that a training loop needs.

DeepSpeed counts micro-batches itself: `backward` and `step` are called for each of them, and it updates at the
boundary. The loss given to `backward` is a sum already divided by the update's global count, hence
`scale_wrt_gas=False`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import deepspeed
import torch
from deepspeed.utils import safe_get_full_fp32_param
from torch import Tensor, nn

from uer_ds.data.batch import Batch, Terms
from uer_ds.engine.distributed import device
from uer_ds.engine.ds_config import zero_stage
from uer_ds.errors import UserError

ENGINE_TAG = "engine"
"""The sub-folder of a checkpoint that holds DeepSpeed's own files."""


class Engine:
    """A model, its optimizer and DeepSpeed's ZeRO around them."""

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer, config: dict[str, Any], where: str):
        """`config` is a complete DeepSpeed JSON (see `ds_config.engine_config`), made from the file `where`.

        Collective. Raises UserError when DeepSpeed refuses it.
        """
        self.device = device()
        self.stage = zero_stage(config)
        self.parameter_count = sum(parameter.numel() for parameter in model.parameters())
        try:
            self._engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=config)
        except (deepspeed.runtime.config.DeepSpeedConfigError, AssertionError, ValueError) as error:
            reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
            raise UserError(f"{where}: DeepSpeed refuses this configuration: {reason[:400]}.") from error
        self._low_precision = self._engine.bfloat16_enabled() or self._engine.fp16_enabled()
        self._grad_norm: Tensor | float | None = None

    @property
    def model(self) -> nn.Module:
        """The wrapped model; under ZeRO-3 its parameters are partitioned."""
        return self._engine.module

    def forward(self, batch: Batch) -> Terms:
        """Run the model on one micro-batch (already on this device)."""
        return self._engine(batch)

    def backward_and_step(self, loss: Tensor) -> None:
        """Gradients of one micro-batch; the last one of an update also moves the weights."""
        self._engine.backward(loss, scale_wrt_gas=False)
        boundary = self._engine.is_gradient_accumulation_boundary()
        if boundary and self.stage == 0 and not self._low_precision:  # here DeepSpeed itself computes no norm
            grads = [p.grad for p in self.model.parameters() if p.grad is not None]
            self._grad_norm = torch.nn.utils.get_total_norm(grads)
        self._engine.step()
        if boundary and (self.stage > 0 or self._low_precision):
            self._grad_norm = self._engine.get_global_grad_norm()

    def set_learning_rate(self, rate: float) -> None:
        """The rate of the coming update, for every parameter group."""
        for group in self._engine.optimizer.param_groups:
            group["lr"] = rate

    def grad_norm(self) -> float:
        """L2 norm of the last update's gradient before clipping; nan when DeepSpeed did not compute it."""
        return float("nan") if self._grad_norm is None else float(self._grad_norm)

    def train(self, mode: bool) -> None:
        """Switch dropout on or off."""
        self._engine.train(mode)

    def save(self, folder: Path) -> None:
        """Write DeepSpeed's own files to `folder`/engine. Collective."""
        self._engine.save_checkpoint(str(folder), tag=ENGINE_TAG, save_latest=False)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote, at the same stage and number of ranks. Collective."""
        try:
            found, _ = self._engine.load_checkpoint(str(folder), tag=ENGINE_TAG)
        except (OSError, RuntimeError, KeyError, ValueError, AssertionError, EOFError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise UserError(
                f"{folder}: the engine's state cannot be read ({reason}); "
                "remove this folder to use the checkpoint before."
            ) from error
        if found is None:
            raise UserError(
                f"{folder}: DeepSpeed finds no state in its folder {ENGINE_TAG!r}; the checkpoint is damaged."
            )

    def full_weights(self, keep: bool) -> Iterator[tuple[str, Tensor]]:
        """Every parameter, whole and in float32 on the CPU, under each of its names, one at a time.

        Collective; only ranks that `keep` get anything.
        """
        masters = self._unpartitioned_masters()
        for name, parameter in self.model.named_parameters(remove_duplicate=False):
            whole: Tensor | None = masters.get(parameter, parameter.detach())
            if self.stage > 0 and (self.stage == 3 or self._low_precision):
                whole = safe_get_full_fp32_param(parameter)
            assert whole is not None, f"DeepSpeed holds no float32 weights for {name}"
            if keep:
                yield name, whole.detach().float().cpu()

    def _unpartitioned_masters(self) -> dict[Tensor, Tensor]:
        """Stage 0 in low precision: the float32 weights behind the model's rounded ones."""
        if self.stage > 0 or not self._low_precision:
            return {}
        wrapper = self._engine.optimizer
        groups = zip(wrapper.fp16_groups, wrapper.fp32_groups, strict=True)
        return {half: full for halves, fulls in groups for half, full in zip(halves, fulls, strict=True)}

    def report(self, scalars: Iterable[tuple[str, float]], samples: int) -> None:
        """Hand scalars to the monitors that the DeepSpeed JSON names (W&B, CSV, Comet, TensorBoard)."""
        if self._engine.monitor.enabled:
            self._engine.monitor.write_events([(name, value, samples) for name, value in scalars])
