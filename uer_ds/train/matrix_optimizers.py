"""Lion, LAMB and Muon, in plain torch: the same on a laptop and on a GPU, nothing to compile.

Lion is elementwise, so any ZeRO stage may hold a part of it. LAMB and Muon look at whole tensors: ZeRO stage 0 only.
State a parameter: Lion one moment, LAMB two, Muon one for matrices of the layers and two for all others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of the quintic iteration (Jordan, "Muon", 2024): fast towards singular values near 1, not exactly 1."""

NEWTON_SCHULZ_STEPS = 5

ADAM_SCALE = 0.2
"""Root mean square of an Adam update, to which Muon's is scaled (arXiv 2502.16982), so that one rate serves both."""


class _Stepper(torch.optim.Optimizer):
    """An optimizer that moves one parameter at a time."""

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
                    self._move(parameter, parameter.grad, self.state[parameter], group)
        return loss

    def _move(self, parameter: Tensor, gradient: Tensor, state: dict[str, Any], group: Mapping[str, Any]) -> None:
        raise NotImplementedError


class Lion(_Stepper):
    """p -= lr (sign(b1 m + (1 - b1) g) + weight_decay p); m = b2 m + (1 - b2) g (arXiv 2302.06675).

    Its updates are larger than Adam's: a rate 3 to 10 times smaller, a decay as many times larger, b2 0.99.
    """

    def __init__(
        self, params: Iterable[Any], lr: float, betas: tuple[float, float] = (0.9, 0.99), weight_decay: float = 0.0
    ):
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    def _move(self, parameter: Tensor, gradient: Tensor, state: dict[str, Any], group: Mapping[str, Any]) -> None:
        beta1, beta2 = group["betas"]
        moment = kept(state, "exp_avg", parameter)
        parameter.mul_(1.0 - group["lr"] * group["weight_decay"])
        parameter.add_(moment.lerp(gradient, 1.0 - beta1).sign_(), alpha=-group["lr"])
        moment.lerp_(gradient, 1.0 - beta2)


class Lamb(_Stepper):
    """Adam's update with decay, scaled so that each tensor moves in proportion to its norm (arXiv 1904.00962)."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
    ):
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    def _move(self, parameter: Tensor, gradient: Tensor, state: dict[str, Any], group: Mapping[str, Any]) -> None:
        update = adam_direction(gradient, state, group["betas"], group["eps"])
        update.add_(parameter, alpha=group["weight_decay"])
        size, length = parameter.norm(), update.norm()
        ratio = torch.where((size > 0) & (length > 0), size / length, torch.ones_like(size))
        parameter.sub_(update.mul_(group["lr"] * ratio))


class Muon(_Stepper):
    """Momentum whose matrices are made orthogonal; groups with `use_muon` False (tables, heads, vectors) follow AdamW.

    p -= lr (0.2 sqrt(max(rows, columns)) orthogonal(g + b1 m) + weight_decay p), m = b1 m + g.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ):
        defaults = {"lr": lr, "momentum": momentum, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, {**defaults, "use_muon": True})

    def _move(self, parameter: Tensor, gradient: Tensor, state: dict[str, Any], group: Mapping[str, Any]) -> None:
        if group["use_muon"]:
            moment = kept(state, "momentum_buffer", parameter)
            moment.mul_(group["momentum"]).add_(gradient)
            update = orthogonal(gradient.add(moment, alpha=group["momentum"]))
            update.mul_(ADAM_SCALE * math.sqrt(max(parameter.shape)))
        else:
            update = adam_direction(gradient, state, group["betas"], group["eps"])
        parameter.mul_(1.0 - group["lr"] * group["weight_decay"])
        parameter.sub_(update, alpha=group["lr"])


def adam_direction(gradient: Tensor, state: dict[str, Any], betas: tuple[float, float], eps: float) -> Tensor:
    """Adam's bias-corrected direction; keeps its two moments and the count in `state`."""
    beta1, beta2 = betas
    step = state["step"] = state.get("step", 0) + 1
    mean = kept(state, "exp_avg", gradient).lerp_(gradient, 1.0 - beta1)
    square = kept(state, "exp_avg_sq", gradient)
    square.mul_(beta2).addcmul_(gradient, gradient, value=1.0 - beta2)
    root = (square / (1.0 - beta2**step)).sqrt_().add_(eps)
    return (mean / (1.0 - beta1**step)).div_(root)


def kept(state: dict[str, Any], name: str, like: Tensor) -> Tensor:
    """The tensor `name` of `state`, zeros of the shape of `like` the first time."""
    if name not in state:
        state[name] = torch.zeros_like(like)
    moment: Tensor = state[name]
    return moment


def orthogonal(matrix: Tensor) -> Tensor:
    """About the nearest matrix [R, C] with orthogonal rows or columns, by Newton-Schulz; in bfloat16 on GPUs."""
    a, b, c = NEWTON_SCHULZ
    x = matrix.bfloat16() if matrix.is_cuda else matrix.clone()
    tall = x.size(0) > x.size(1)
    x = x.mT if tall else x
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.mT if tall else x).to(matrix.dtype)
