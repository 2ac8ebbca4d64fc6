"""`TaskModel`: a body (embedding, encoder, where needed decoder and target) and a head.

Files hold UER-py's names, in which the head's parameters stand beside the body's.
"""

from __future__ import annotations

from torch import Tensor, nn

from uer_ds.data.batch import Batch, Terms
from uer_ds.errors import UserError
from uer_ds.finetune.heads import Head
from uer_ds.models.model import Model


class TaskModel(nn.Module):
    """What the engine trains: `Batch` -> `Terms`, or -> outputs of the head for predictions."""

    def __init__(self, body: Model, head: Head):
        super().__init__()
        self.body = body
        self.head = head

    def forward(self, batch: Batch, predict: bool = False) -> Terms | Tensor:
        """Terms of the head's loss; with `predict` the head's outputs, which need no labels."""
        return self.head.answer(self.body, batch) if predict else self.head.learn(self.body, batch)


def file_name(name: str) -> str:
    """The name in a file of a parameter of a `TaskModel` (or of the `Adversarial` around it)."""
    return name.removeprefix("model.").removeprefix("body.").removeprefix("head.")


def freeze(model: nn.Module, embedding: bool, layers: int) -> None:
    """Take the embedding and the lowest `layers` layers out of training."""
    if not embedding and not layers:
        return
    depth = depth_of(model)
    if layers > depth:
        raise UserError(f"--freeze_layers is {layers}, but the model has {depth} layers; give at most that many.")
    for name, parameter in model.named_parameters():
        level = level_of(name, depth)
        if level is not None and level <= layers:
            parameter.requires_grad_(False)


def depth_of(model: nn.Module) -> int:
    """Encoder layers with numbers in their names; 0 for shared or recurrent layers."""
    levels = [level_of(name, 0) for name, _ in model.named_parameters()]
    return max((level for level in levels if level is not None), default=0)


def level_of(name: str, depth: int) -> int | None:
    """0 for the embedding, 1 for the lowest layer, ...; None for what stands above all layers."""
    name = file_name(name)
    if name.startswith("embedding."):
        return 0
    parts = name.split(".")
    if parts[0] != "encoder":
        return None
    numbers = [int(part) for part in parts[1:3] if part.isdigit()]
    return numbers[0] + 1 if numbers else None


def rate_factors(model: nn.Module, decay: float) -> dict[str, float]:
    """Parameter name -> factor of the learning rate: `decay` to the power of the distance from the top."""
    depth = depth_of(model)
    factors = {}
    for name, _ in model.named_parameters():
        level = level_of(name, depth)
        factors[name] = 1.0 if level is None else decay ** (depth + 1 - level)
    return factors
