"""Adversarial training as a model around the model: the loss on perturbed embeddings is added to the plain one.

FGM (Miyato et al. 2017): every parameter of the embedding moves by epsilon along its gradient. PGD (Madry et al. 2018):
several smaller steps, each projected back to the ball of radius epsilon. As in UER-py the gradients of both losses add
up; unlike there no weight is changed in place, so it also works on partitioned optimizers (ZeRO 0 to 2). Cost: 2.5
times (FGM) to (2 + 2 K) times the plain step. Every rank perturbs by its own examples.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from uer_ds.config.finetune import AdversarialConfig
from uer_ds.data.batch import Batch, Terms
from uer_ds.errors import UserError

Tensors = dict[str, Tensor]


class Adversarial(nn.Module):
    """Answers with the plain terms; gradients of their losses are those of plain and perturbed losses together.

    In training only. Raises UserError when no embedding is trained.
    """

    def __init__(self, model: nn.Module, config: AdversarialConfig):
        super().__init__()
        if not dict(_embeddings(model)):
            raise UserError(
                "--use_adv perturbs embeddings that are trained, but all are frozen; leave out --freeze_embedding and "
                "--freeze_layers, or --use_adv."
            )
        self.model = model
        self.config = config

    def forward(self, batch: Batch, predict: bool = False) -> Terms | Tensor:
        """As the model's own."""
        if predict or not self.training:
            return self.model(batch, predict=predict)
        plain: Terms = self.model(batch)
        parameters = dict(_embeddings(self.model))
        gradients = self._gradients(plain, parameters)
        moves = self._moves(batch, parameters, gradients)
        perturbed = self._perturbed(batch, parameters, moves)
        return {
            name: (total + gradient_only(perturbed[name][0]) if name.startswith("loss_") else total, count)
            for name, (total, count) in plain.items()
        }

    def _moves(self, batch: Batch, parameters: Tensors, gradients: Tensors) -> Tensors:
        config = self.config
        if config.adv_type == "fgm":
            return {name: config.fgm_epsilon * unit(gradient) for name, gradient in gradients.items()}
        moves = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
        for step in range(config.pgd_k):
            for name, gradient in gradients.items():
                moves[name] = into_ball(moves[name] + config.pgd_alpha * unit(gradient), config.pgd_epsilon)
            if step + 1 < config.pgd_k:
                gradients = self._gradients(self._perturbed(batch, parameters, moves), parameters)
        return moves

    def _perturbed(self, batch: Batch, parameters: Tensors, moves: Tensors) -> Terms:
        moved = {name: parameter + moves[name].detach() for name, parameter in parameters.items()}
        return cast(Terms, functional_call(self.model, moved, (batch,)))

    def _gradients(self, terms: Terms, parameters: Tensors) -> Tensors:
        """Of the mean loss of this micro-batch."""
        loss = torch.stack([t / n.clamp(min=1) for name, (t, n) in terms.items() if name.startswith("loss_")]).sum()
        found = torch.autograd.grad(loss, list(parameters.values()), retain_graph=True, allow_unused=True)
        pairs = zip(parameters.items(), found, strict=True)
        return {name: torch.zeros_like(p) if gradient is None else gradient for (name, p), gradient in pairs}


def _embeddings(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for name, parameter in model.named_parameters():
        if "embedding" in name and parameter.requires_grad:
            yield name, parameter


def gradient_only(loss: Tensor) -> Tensor:
    """0, with the gradient of `loss`: it takes part in training and not in what is reported."""
    return loss - loss.detach()


def unit(gradient: Tensor) -> Tensor:
    """The gradient at length 1; zeros where it is zero or not finite."""
    length = gradient.norm()
    return torch.where((length > 0) & length.isfinite(), gradient / length, torch.zeros_like(gradient))


def into_ball(move: Tensor, radius: float) -> Tensor:
    """The nearest point to `move` within `radius` of the origin (L2)."""
    return move * (radius / move.norm().clamp(min=radius))
