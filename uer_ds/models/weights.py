"""Weights of a file into a model, under UER-py's names; every name must find its place.

Files are mapped, not read (`weight_files`): a tensor is touched when it is copied, one at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from uer_ds.errors import UserError, nearest
from uer_ds.models.init import Gather, whole
from uer_ds.models.old_names import is_fixed_table
from uer_ds.models.weight_files import read_weights, save_weights

__all__ = ["WeightReport", "load_weights", "save_weights"]

HEADS = ("target.", "output_layer", "classifier.", "crf.", "output_layers_")
"""Beginnings of the names of heads: what may be missing or left over when a model starts from another one's weights."""


@dataclass(frozen=True)
class WeightReport:
    """What `load_weights` with `strict=False` did not load.

    Attributes:
        missing: names of the model that the file lacks (or holds in other shapes): heads, which keep their initial
            values.
        unexpected: names of heads in the file that the model lacks.
    """

    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()


def load_weights(model: nn.Module, path: str | Path, strict: bool = True, gather: Gather = whole) -> WeightReport:
    """Copy the weights in `path` into `model`.

    Args:
        path: UER `.bin`, `.safetensors`, `*.index.json`, or a folder with one of them.
        strict: every name must be on both sides. Otherwise heads may be missing or left over, and are reported.
        gather: makes partitioned parameters whole (ZeRO-3).

    Raises UserError, naming file, key and shapes, when something does not fit; the model may then be half loaded.
    """
    path = Path(path)
    source = read_weights(path)
    parameters = _names_of_parameters(model)
    unexpected = [name for name in source if name not in parameters and not is_fixed_table(name)]
    if not any(name in parameters for name in source):
        raise _no_match(path, source, parameters)
    missing = []
    for names in _tied_names(parameters):
        found = [name for name in names if name in source]
        if not found:
            missing += names
            continue
        _copy(parameters[names[0]], {name: source[name]() for name in found}, path, gather)
    report = WeightReport(tuple(missing), tuple(unexpected))
    _check_leftovers(report, path, strict)
    return report


def _names_of_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    return dict(model.named_parameters(remove_duplicate=False))


def _tied_names(parameters: Mapping[str, nn.Parameter]) -> Iterator[list[str]]:
    """The names of each parameter: several where it is tied."""
    groups: dict[int, list[str]] = {}
    for name, parameter in parameters.items():
        groups.setdefault(id(parameter), []).append(name)
    yield from groups.values()


@torch.no_grad()
def _copy(parameter: nn.Parameter, tensors: Mapping[str, Tensor], path: Path, gather: Gather) -> None:
    first_name, first = next(iter(tensors.items()))
    for name, tensor in tensors.items():
        if not torch.equal(tensor, first) and tensor.shape == first.shape:
            raise UserError(
                f"{path}: {first_name!r} and {name!r} differ, but are one tied parameter of this model; "
                "set tie_weights (or share_embedding) to false to load both."
            )
    with gather([parameter]):
        for name, tensor in tensors.items():
            if tensor.shape != parameter.shape:
                raise UserError(
                    f"{path}: {name!r} has shape {tuple(tensor.shape)}, but {tuple(parameter.shape)} in this model; "
                    "check the model JSON and the vocabulary."
                )
        parameter.copy_(first)


def _check_leftovers(report: WeightReport, path: Path, strict: bool) -> None:
    for names, fault in ((report.missing, "lacks"), (report.unexpected, "holds, but the model lacks,")):
        wrong = [name for name in names if strict or not name.startswith(HEADS)]
        if wrong:
            more = f" and {len(wrong) - 4} more" if len(wrong) > 4 else ""
            raise UserError(
                f"{path}: {fault} {', '.join(wrong[:4])}{more}; check that the model JSON belongs to this file."
            )


def _no_match(path: Path, source: Mapping[str, Any], parameters: Mapping[str, Any]) -> UserError:
    found = next(iter(source), None)
    if found is None:
        return UserError(f"{path}: holds no tensors; expected weights of this model.")
    wanted = nearest(found, parameters) or next(iter(parameters))
    return UserError(
        f"{path}: none of its {len(source)} names belongs to this model (it has {found!r}, the model {wanted!r}); "
        "convert the file to UER names first, or give the JSON of its model."
    )
