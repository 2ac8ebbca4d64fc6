"""`Engine`: one model under DeepSpeed, seen through the few verbs that a training loop needs.

DeepSpeed counts micro-batches itself: `backward` and `step` are called for each of them, and it updates at the
boundary. The loss given to `backward` is a sum already divided by the update's global count, hence
`scale_wrt_gas=False`.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import deepspeed
import torch
from deepspeed.accelerator import get_accelerator
from deepspeed.runtime.zero.parameter_offload import FWD_MODULE_STACK
from deepspeed.utils import safe_get_full_fp32_param
from torch import Tensor, nn

from uer_ds.data.batch import Batch, Terms
from uer_ds.engine.ds_config import engine_layout, zero_stage
from uer_ds.engine.few_passes import spare_passes
from uer_ds.engine.fragments import fill
from uer_ds.engine.machine import device
from uer_ds.engine.partitioned import gathered, refusals, whole_size
from uer_ds.engine.shared_layers import SharedLayers
from uer_ds.engine.swapped import restore_swapped
from uer_ds.engine.writer import Writer
from uer_ds.errors import UserError
from uer_ds.models.weight_files import Source, read_weights
from uer_ds.models.weights import load_tensors
from uer_ds.storage.zero import PARAMETER_NAMES, read_engine_state
from uer_ds.storage.zero_files import ENGINE_FOLDER

ENGINE_TAG = ENGINE_FOLDER
"""The sub-folder of a checkpoint that holds DeepSpeed's own files."""


class Engine:
    """A model, its optimizer and DeepSpeed's ZeRO around them."""

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer, config: dict[str, Any], where: str):
        """`config` is a complete DeepSpeed JSON (see `ds_config.engine_config`), made from the file `where`.

        Collective. Raises UserError when DeepSpeed refuses it.
        """
        self.device = device()
        self.stage = zero_stage(config)
        self.parameter_count = sum(whole_size(parameter) for parameter in model.parameters())
        self.trained_count = sum(whole_size(parameter) for parameter in model.parameters() if parameter.requires_grad)
        self._group_names = _group_names(model, optimizer)
        deepcompile = (config.get("compile") or {}).get("deepcompile")
        if deepcompile and self.device.type == "cpu":
            raise UserError(f"{where}: compile.deepcompile needs a GPU, found none; remove the section 'compile'.")
        with refusals(where):
            self._engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=config)
            if deepcompile:
                self._engine.compile()  # DeepSpeed reads the section, but compiles only when it is told to
            else:
                spare_passes(self._engine.optimizer, self._engine.world_size)
        self.parameter_names = [name for name, _ in model.named_parameters(remove_duplicate=False)]
        sharing = (config.get("tensor_parallel") or {}).get("autotp_size", 1)
        self._layers = SharedLayers(self._engine, sharing)
        self.files_hold_all = "nvme" not in engine_layout(config)["offload"] and sharing == 1
        """Whether weights and optimizer state can be read back from the files of `save`."""
        self._engine.checkpoint_engine = self.writer = Writer()
        self._engine._copy_recovery_script = lambda path: None  # `uer-ds convert` reads the files
        self._low_precision = self._engine.bfloat16_enabled() or self._engine.fp16_enabled()
        self._grad_norm: Tensor | float | None = None
        self.skipped = False
        """The last update moved nothing, since its loss or its gradient was not finite. The same on all ranks."""
        self._plain = self.stage == 0 and not self._low_precision
        if self._plain:
            optimizer.register_step_pre_hook(self._drop_bad_gradients)
        scaler = getattr(self._engine.optimizer, "loss_scaler", None)
        if scaler is not None and hasattr(scaler, "raise_error_at_min_scale"):
            scaler.raise_error_at_min_scale = False  # the watchdog decides when a run has no hope

    @property
    def model(self) -> nn.Module:
        """The wrapped model; under ZeRO-3 its parameters are partitioned."""
        return self._engine.module

    def forward(self, batch: Batch) -> Terms:
        """Run the model on one micro-batch (already on this device)."""
        return self._engine(batch)

    def predict(self, batch: Batch) -> Tensor:
        """Outputs of a model for fine-tuning (`uer_ds.finetune.model`) on one micro-batch without labels."""
        return self._engine(batch.to(self.device), predict=True)

    def backward_and_step(self, loss: Tensor) -> None:
        """Gradients of one micro-batch; the last one of an update also moves the weights."""
        # Not finite: the factor turns the loss into NaN, and with it every gradient, which DeepSpeed's own check of the
        # norm finds on all ranks. Finite: the factor is exactly 1. Nothing waits for the device.
        scale = self._missing_scale()
        self._engine.backward(loss * (1.0 + 0.0 * loss.detach()) * scale, scale_wrt_gas=False)
        if not self._engine.is_gradient_accumulation_boundary():
            self._engine.step()
            return
        if self._plain:
            self.skipped = not self._gradients_are_finite()
            self._engine.step()
        else:
            self._engine.step()
            self.skipped = not self._engine.was_step_applied()
            norm = self._engine.get_global_grad_norm()
            self._grad_norm = None if norm is None else norm / scale

    def _missing_scale(self) -> float:
        """Float16 at stage 0: DeepSpeed 0.19 divides gradients by the loss scale but multiplies no loss with it."""
        unpartitioned = getattr(self._engine.optimizer, "loss_scale_config", None)
        return float(unpartitioned.cur_scale) if unpartitioned is not None and unpartitioned.use_grad_scaling else 1.0

    def _gradients_are_finite(self) -> bool:
        """Stage 0 in float32, where DeepSpeed computes no norm. Every rank sees the same reduced gradients."""
        self._grad_norm = torch.nn.utils.get_total_norm([p.grad for p in self.model.parameters() if p.grad is not None])
        return math.isfinite(self._grad_norm)

    def _drop_bad_gradients(self, *_: Any) -> None:
        """Just before the optimizer's step: without gradients it moves nothing, neither weights nor moments."""
        if self.skipped:
            for parameter in self.model.parameters():
                parameter.grad = None

    def loss_scale(self) -> tuple[float, float] | None:
        """float16 with dynamic scale: the scale and its minimum; None otherwise."""
        scaler = getattr(self._engine.optimizer, "loss_scaler", None)
        if scaler is not None and getattr(scaler, "dynamic", False):
            return float(scaler.cur_scale), float(scaler.min_scale)
        unpartitioned = getattr(self._engine.optimizer, "loss_scale_config", None)
        if unpartitioned is not None and unpartitioned.dynamic_loss_scale:
            return float(unpartitioned.cur_scale), float(unpartitioned.min_loss_scale)
        return None

    def set_learning_rate(self, rate: float) -> None:
        """The rate of the coming update, for every parameter group (times its `rate_factor`, where it has one)."""
        for group in self._engine.optimizer.param_groups:
            group["lr"] = rate * group.get("rate_factor", 1.0)

    def grad_norm(self) -> float:
        """L2 norm of the last update's gradient before clipping; nan when DeepSpeed did not compute it."""
        return float("nan") if self._grad_norm is None else float(self._grad_norm)

    def train(self, mode: bool) -> None:
        """Switch dropout on or off."""
        self._engine.train(mode)

    def save(self, folder: Path, later: bool = False) -> None:
        """Write DeepSpeed's own files to `folder`/engine, or with `later` take copies that `writer.write_all` writes.

        Collective. What goes wrong with the files is in `writer.trouble` afterwards.
        """
        self.writer.start(later)
        names = {PARAMETER_NAMES: self._group_names}
        self._engine.save_checkpoint(str(folder), tag=ENGINE_TAG, client_state=names, save_latest=False)

    def load(self, folder: Path, same_layout: bool) -> None:
        """Read what `save` wrote. Collective.

        `same_layout`: DeepSpeed's own way, for the same number of ranks, stage, offload and precision. Otherwise every
        rank reads its parts of the others' files, tensor by tensor.
        """
        if not same_layout:
            fill(self._engine, read_engine_state(folder / ENGINE_TAG), str(folder))
            return
        options = [_options(group) for group in self._engine.basic_optimizer.param_groups]
        self._load_own_files(folder)
        if self._engine.zero_nvme_offload_optimizer():
            restore_swapped(self._engine, folder / ENGINE_TAG)
        for group, values in zip(self._engine.basic_optimizer.param_groups, options, strict=True):
            group.update(values)  # DeepSpeed puts the checkpoint's in their place
        if hasattr(self._engine.optimizer, "clip_grad"):
            self._engine.optimizer.clip_grad = self._engine.gradient_clipping()

    def _load_own_files(self, folder: Path) -> None:
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

    def replace_weights(self, path: Path, file_name: Callable[[str], str], more: Source | None = None) -> None:
        """Put the weights of a file into the model, for evaluation only: the optimizer keeps what it had. Collective.

        `file_name`: a parameter's name -> its name in the file. `more`: what the file does not hold.
        """
        source = {**read_weights(path), **(more or {})}
        load_tensors(self.model, source, path, file_name, gather=gathered)

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Whole shape of every parameter under each of its names, in the order of `full_weights`."""
        named = self.model.named_parameters(remove_duplicate=False)
        return {
            name: self._layers.whole_shape(name, tuple(getattr(parameter, "ds_shape", parameter.shape)))
            for name, parameter in named
        }

    def full_weights(self, keep: bool) -> Iterator[tuple[str, Tensor]]:
        """Every parameter, whole and in float32 on the CPU, under each of its names, one at a time.

        Collective; only ranks that `keep` get anything.
        """
        masters = self._unpartitioned_masters()
        for name, parameter in self.model.named_parameters(remove_duplicate=False):
            whole: Tensor | None = masters.get(parameter, parameter.detach())
            if not parameter.requires_grad:  # frozen: the optimizer has no float32 weights, the model's own are all
                with deepspeed.zero.GatheredParameters([parameter], enabled=self.stage == 3):
                    whole = parameter.detach().to("cpu", torch.float32, copy=True)
            elif self.stage > 0 and (self.stage == 3 or self._low_precision):
                whole = safe_get_full_fp32_param(parameter)
            assert whole is not None, f"DeepSpeed holds no float32 weights for {name}"
            whole = self._layers.whole(name, whole)
            if keep:
                yield name, whole.detach().float().cpu()

    def _unpartitioned_masters(self) -> dict[Tensor, Tensor]:
        """Stage 0 in low precision: the float32 weights behind the model's rounded ones."""
        if self.stage > 0 or not self._low_precision:
            return {}
        wrapper = self._engine.optimizer
        groups = zip(wrapper.fp16_groups, wrapper.fp32_groups, strict=True)
        return {half: full for halves, fulls in groups for half, full in zip(halves, fulls, strict=True)}

    def close(self) -> None:
        """Let go of the model and all that DeepSpeed holds on to, for processes that train one model after another."""
        parameters = list(self.model.parameters())
        held = [*self.model.modules(), *parameters, self._engine.optimizer, self._engine]
        self._engine.destroy()
        self._engine = None
        FWD_MODULE_STACK.clear()  # ZeRO-3's list of the modules that are running has the model at its bottom
        for part in held:
            vars(part).clear()  # hooks and classes that ZeRO-3 has made know them, and torch keeps those for ever
        for parameter in parameters:
            parameter.data, parameter.grad = parameter.data.new_empty(0), None
        gc.collect()  # engine, optimizer and hooks refer to each other
        get_accelerator().empty_cache()

    def report(self, scalars: Iterable[tuple[str, float]], samples: int) -> None:
        """Hand scalars to the monitors that the DeepSpeed JSON names (W&B, CSV, Comet, TensorBoard)."""
        if self._engine.monitor.enabled:
            self._engine.monitor.write_events([(name, value, samples) for name, value in scalars])


def _group_names(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[list[str]]:
    """Names of the trained parameters, in the optimizer's groups and order."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return [[names[id(parameter)] for parameter in group["params"]] for group in optimizer.param_groups]


def _options(group: dict[str, Any]) -> dict[str, Any]:
    """What the user decides in a parameter group: everything but the weights and their step number."""
    return {key: value for key, value in group.items() if key not in ("params", "step")}
