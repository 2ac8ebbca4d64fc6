"""Models too large for one device, answering only: DeepSpeed's ZeRO-Inference.

Weights are divided over the processes, or lie in the machine's memory, and each layer's come when it runs (ZeRO stage 3
without optimizer). All processes must make the same calls.
"""

from __future__ import annotations

from typing import Any

import deepspeed
from torch import Tensor, nn

from uer_ds.engine.ds_config import engine_config, zero_stage
from uer_ds.engine.partitioned import refusals
from uer_ds.errors import UserError
from uer_ds.models.model import Model


def inference_config(given: dict[str, Any], where: str) -> dict[str, Any]:
    """The DeepSpeed JSON `given`, from the file `where`, for a model that only answers.

    Raises UserError for another stage than 3: the others hold whole weights on every device, as does no JSON at all.
    """
    if zero_stage(given) != 3:
        raise UserError(f"{where}: has ZeRO stage {zero_stage(given)}; generating divides weights by stage 3 only.")
    zero = {key: value for key, value in given["zero_optimization"].items() if key != "offload_optimizer"}
    one = {"batch_size": 1, "accumulation_steps": 1, "world_size": deepspeed.comm.get_world_size()}
    return engine_config({**given, "zero_optimization": zero}, where, max_grad_norm=0.0, **one)


class PartitionedModel(nn.Module):
    """A model whose layers are fetched when they run; it answers to what `Model` answers to when texts are written."""

    def __init__(self, model: Model, config: dict[str, Any], where: str):
        """`model` was built partitioned; `config` is complete. Collective."""
        super().__init__()
        calls = _Calls(model)
        with refusals(where):
            engine, *_ = deepspeed.initialize(model=calls, config=config)
        self._engine = engine
        self.config, self.decoder = model.config, model.decoder
        self.new_past = model.new_past

    def encode(self, *arguments: Any) -> Tensor:
        """See `Model`."""
        return self._engine("encode", *arguments)

    def next_logits(self, *arguments: Any) -> Tensor:
        """See `Model`."""
        return self._engine("next_logits", *arguments)


class _Calls(nn.Module):
    """DeepSpeed looks after a module's forward only, so every call goes through one."""

    def __init__(self, model: Model):
        super().__init__()
        self.model = model

    def forward(self, name: str, *arguments: Any) -> Any:
        return getattr(self.model, name)(*arguments)
