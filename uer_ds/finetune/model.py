"""`TaskModel`: a body (embedding, encoder, where needed decoder and target) and a head.

Files hold UER-py's names, in which the head's parameters stand beside the body's.
"""

from __future__ import annotations

import re

from torch import Tensor, nn

from uer_ds.data.batch import Batch, Terms
from uer_ds.errors import UserError
from uer_ds.finetune.heads import Head
from uer_ds.models.model import Model

LAYERS = ((r"transformer\.(\d+)\.", 1), (r"(?:conv|gate)\.(\d+)\.", 2), (r"_l(\d+)", 1))
"""How encoders number their layers, and the level of number 0: transformer, gated convolutions (the first stands
apart), recurrent cells."""


BASE, ADAPTER = (".base_layer.", "."), (".default.", ".")
"""What peft writes into the names of an adapted projection's own parameters and of its adapter -> what files have."""


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
    """The name in a file of a parameter of a `TaskModel` (or of a model around it), with or without adapters inside."""
    return name.removeprefix("model.").removeprefix("body.").removeprefix("head.").replace(*BASE).replace(*ADAPTER)


def freeze(model: nn.Module, embedding: bool, layers: int) -> None:
    """Take the embedding and the lowest `layers` layers out of training."""
    if not embedding and not layers:
        return
    depth = depth_of(model)
    if layers > depth:
        raise UserError(
            f"--freeze_layers is {layers}, but the encoder has {depth} layers with weights of their own; "
            "give at most that many."
        )
    for name, parameter in model.named_parameters():
        level = level_of(name)
        if level is not None and level <= layers:
            parameter.requires_grad_(False)


def depth_of(model: nn.Module) -> int:
    """Encoder layers with weights of their own; layers that share theirs count once."""
    levels = [level_of(name) for name, _ in model.named_parameters()]
    return max((level for level in levels if level is not None), default=0)


def level_of(name: str) -> int | None:
    """0 for the embedding, 1 for the lowest layer, ...; None for what stands above all layers.

    Weights that all layers share, and what stands below the first one, belong to the lowest. Both streams of a dual
    model are counted alike.
    """
    name = file_name(name)
    if name.startswith("embedding."):
        return 0
    part, _, rest = name.partition(".")
    if part != "encoder" or re.match(r"(encoder_\d\.)?layer_norm\.", rest):
        return None
    for pattern, lowest in LAYERS:
        found = re.search(pattern, rest)
        if found:
            return int(found[1]) + lowest
    return 1


def rate_factors(model: nn.Module, decay: float) -> dict[str, float]:
    """Parameter name -> factor of the learning rate: `decay` to the power of the distance from the top."""
    depth = depth_of(model)
    factors = {}
    for name, _ in model.named_parameters():
        level = level_of(name)
        factors[name] = 1.0 if level is None else decay ** (depth + 1 - level)
    return factors
