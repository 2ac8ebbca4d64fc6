"""Not a test: all of an engine's weights and optimizer states, gathered by DeepSpeed's own functions."""

from __future__ import annotations

from typing import Any

import torch
from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state

from uer_ds.engine.engine import Engine


def gathered(engine: Engine) -> dict[str, dict[str, torch.Tensor]]:
    """Parameter name -> master, exp_avg, exp_avg_sq and step, whole; collective."""
    inner = engine._engine
    if hasattr(inner.optimizer, "_lazy_init_hp_params_optimizer_state"):
        inner.optimizer._hp_optimizer_states_linked = False  # DeepSpeed forgets them when it loads a checkpoint
        inner.optimizer._lazy_init_hp_params_optimizer_state()
    return {name: _state(inner, parameter) for name, parameter in inner.module.named_parameters()}


def _state(inner: Any, parameter: torch.nn.Parameter) -> dict[str, torch.Tensor]:
    keys = ("exp_avg", "exp_avg_sq")
    if inner.zero_optimization_stage() == 0:
        state = inner.basic_optimizer.state[parameter]
        found = {"master": parameter.detach().clone(), **{key: state[key].clone() for key in keys}}
    else:
        states = {key: safe_get_full_optimizer_state(parameter, key).clone() for key in keys}
        found = {"master": safe_get_full_fp32_param(parameter).clone(), **states}
    steps = {state["step"] for state in inner.basic_optimizer.state.values()}
    assert len(steps) == 1
    return {**found, "step": torch.tensor(steps.pop())}
