"""Optimizers with UER-py's arithmetic: AdamW without bias correction, decay after the step; Adafactor.

Both are elementwise or per matrix and know nothing of ranks. AdamW may be partitioned by any ZeRO stage; Adafactor
keeps row and column statistics of whole matrices, so it belongs to ZeRO stage 0. Others: `matrix_optimizers`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from uer_ds.config.run import OptimConfig
from uer_ds.train.matrix_optimizers import Lamb, Lion, Muon


def build_optimizer(
    model: nn.Module, decays: Mapping[str, bool], config: OptimConfig, factors: Mapping[str, float] | None = None
) -> torch.optim.Optimizer:
    """The optimizer that `config` names, over the groups of `parameter_groups`."""
    groups = parameter_groups(model, decays, config.weight_decay, factors)
    if config.optimizer == "adafactor":
        return Adafactor(groups, lr=config.learning_rate, scale_parameter=False, relative_step=False)
    betas = (config.beta1, config.beta2)
    if config.optimizer == "lion":
        return Lion(groups, lr=config.learning_rate, betas=betas)
    if config.optimizer == "lamb":
        return Lamb(groups, lr=config.learning_rate, betas=betas)
    if config.optimizer == "muon":
        return Muon(matrices_apart(model, groups), lr=config.learning_rate, betas=betas)
    return AdamW(groups, lr=config.learning_rate, betas=betas, correct_bias=config.correct_bias)


def parameter_groups(
    model: nn.Module, decays: Mapping[str, bool], weight_decay: float, factors: Mapping[str, float] | None = None
) -> list[dict[str, Any]]:
    """Groups for an optimizer, none of them empty, of the parameters that are trained.

    `decays`: parameter name -> whether `weight_decay` applies; `factors`: parameter name -> factor of the learning
    rate, kept in the group as `rate_factor`. Without factors there are two groups: with and without decay.
    """
    groups: dict[tuple[bool, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            factor = factors[name] if factors else 1.0
            groups.setdefault((not decays[name], factor), []).append(parameter)
    return [
        {"params": groups[key], "weight_decay": 0.0 if key[0] else weight_decay, "rate_factor": key[1]}
        for key in sorted(groups)
    ]


def whole_matrices(optimizer: str) -> str | None:
    """`optimizer` when it must see whole matrices, which ZeRO stages 1 to 3 would cut; else None."""
    return optimizer if optimizer in ("adafactor", "lamb", "muon") else None


def matrices_apart(model: nn.Module, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Muon's groups: matrices inside encoder and decoder apart from tables, heads and vectors."""
    inside = {
        parameter
        for name, parameter in model.named_parameters()
        if parameter.dim() == 2 and {"encoder", "decoder"} & set(name.split("."))
    }
    result = []
    for group in groups:
        for use in (True, False):
            parameters = [p for p in group["params"] if (p in inside) == use]
            if parameters:
                result.append({**group, "params": parameters, "use_muon": use})
    return result


class AdamW(torch.optim.Optimizer):
    """Adam, then decay of the already updated value: p -= lr m / (sqrt(v) + eps); p -= lr * weight_decay * p.

    `correct_bias` makes the first updates as large as the later ones (Adam as published); UER-py trains without.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        correct_bias: bool = False,
    ):
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "correct_bias": correct_bias}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update of all parameters that have a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            for parameter in parameters:
                self._count(parameter)
            if parameters:
                values = _step_values(group, self.state[parameters[0]]["step"])
                _adam([self._tensors(p) for p in parameters], **values)
        return loss

    def _count(self, parameter: Tensor) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = 0
            state["exp_avg"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
            state["exp_avg_sq"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
        state["step"] += 1

    def _tensors(self, parameter: Tensor) -> tuple[Tensor, ...]:
        state = self.state[parameter]
        gradient = parameter.grad
        assert gradient is not None
        if gradient.stride() != parameter.stride():  # the fused kernel goes through the memory of all four side by side
            gradient = torch.empty_like(parameter).copy_(gradient)
        return parameter, gradient, state["exp_avg"], state["exp_avg_sq"]


def _step_values(group: Mapping[str, Any], step: int) -> dict[str, Any]:
    """The scalars of one update."""
    beta1, beta2 = group["betas"]
    rate = group["lr"]
    if group["correct_bias"]:
        rate *= math.sqrt(1.0 - beta2**step) / (1.0 - beta1**step)
    decay = 1.0 - group["lr"] * group["weight_decay"]
    return {"beta1": beta1, "beta2": beta2, "eps": group["eps"], "rate": rate, "decay": decay}


STEADY = 2.0**24
"""A step number at which Adam's bias correction, for any usual rate of decay, is 1."""


def _adam(
    tensors: list[tuple[Tensor, ...]], *, beta1: float, beta2: float, eps: float, rate: float, decay: float
) -> None:
    """Update (parameter, gradient, first and second moment) in one pass over the memory, by torch's fused AdamW.

    torch decays before it moves: p d' - r' u. Here p is moved first: (p - r u) d. With d' = d and r' = r d they are
    the same.
    """
    moved = rate * decay
    parameters, gradients, means, squares = (list(column) for column in zip(*tensors, strict=True))
    adamw(
        parameters,
        gradients,
        means,
        squares,
        max_exp_avg_sqs=[],
        state_steps=list(torch.full((len(tensors),), STEADY, device=tensors[0][0].device)),
        fused=True,
        amsgrad=False,
        beta1=beta1,
        beta2=beta2,
        lr=moved,
        weight_decay=(1.0 - decay) / moved if moved else 0.0,
        eps=eps,
        maximize=False,
    )


class Adafactor(torch.optim.Optimizer):
    """Adafactor without first moment: second moments of a matrix kept as a row and a column.

    Tensors of more than two dimensions are stacks of matrices. With `relative_step` the rate comes from the step number
    and `lr` is ignored; UER-py trains with `relative_step` and `scale_parameter` off.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | None = None,
        eps: tuple[float, float] = (1e-30, 1e-3),
        clip_threshold: float = 1.0,
        decay_rate: float = -0.8,
        weight_decay: float = 0.0,
        scale_parameter: bool = True,
        relative_step: bool = True,
        warmup_init: bool = False,
    ):
        assert relative_step or lr is not None
        super().__init__(
            params,
            {
                "lr": lr,
                "eps": eps,
                "clip_threshold": clip_threshold,
                "decay_rate": decay_rate,
                "weight_decay": weight_decay,
                "scale_parameter": scale_parameter,
                "relative_step": relative_step,
                "warmup_init": warmup_init,
            },
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update of all parameters that have a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, parameter.grad.float(), group)
        return loss

    def _move(self, parameter: Tensor, gradient: Tensor, group: Mapping[str, Any]) -> None:
        state = self.state[parameter]
        state["step"] = state.get("step", 0) + 1
        rate = _adafactor_rate(parameter, group, state["step"])
        decay = 1.0 - math.pow(state["step"], group["decay_rate"])
        update = _normalised(gradient, state, decay, group["eps"][0])
        update /= (_rms(update) / group["clip_threshold"]).clamp(min=1.0)
        if group["weight_decay"]:
            parameter.mul_(1.0 - group["weight_decay"] * rate)
        parameter.sub_((update * rate).to(parameter.dtype))


def _adafactor_rate(parameter: Tensor, group: Mapping[str, Any], step: int) -> Tensor | float:
    rate = group["lr"]
    if group["relative_step"]:
        rate = min(1e-6 * step if group["warmup_init"] else 1e-2, 1.0 / math.sqrt(step))
    return rate * _rms(parameter.float()).clamp(min=group["eps"][1]) if group["scale_parameter"] else rate


def _normalised(gradient: Tensor, state: dict[str, Any], decay: float, eps: float) -> Tensor:
    """The gradient over the root of its running second moment, which is updated in `state`."""
    square = gradient.square() + eps
    if gradient.ndim < 2:
        moment = state.setdefault("exp_avg_sq", torch.zeros_like(gradient))
        moment.lerp_(square, 1.0 - decay)
        return gradient * moment.rsqrt()
    rows = state.setdefault("exp_avg_sq_row", torch.zeros_like(square[..., 0]))
    columns = state.setdefault("exp_avg_sq_col", torch.zeros_like(square[..., 0, :]))
    rows.lerp_(square.mean(-1), 1.0 - decay)
    columns.lerp_(square.mean(-2), 1.0 - decay)
    row_factor = (rows / rows.mean(-1, keepdim=True)).rsqrt().unsqueeze(-1)
    return gradient * row_factor * columns.rsqrt().unsqueeze(-2)


def _rms(x: Tensor) -> Tensor:
    return x.square().mean().sqrt()
