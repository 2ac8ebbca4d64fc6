"""Weights of a file into a model, under UER-py's names; every name must find its place.

Tensors are read when they are copied, one at a time (`weight_files`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from uer_ds.errors import UserError, nearest
from uer_ds.models.embeddings import SinusoidalEmbedding
from uer_ds.models.init import Gather, whole
from uer_ds.models.old_names import is_fixed_table
from uer_ds.models.weight_files import Source, read_weights, save_weights

__all__ = ["WeightReport", "load_weights", "save_weights"]

HEADS = ("target.", "output_layer", "classifier.", "crf.", "output_layers_", "embedding.dual.stream_")
"""Beginnings of the names that may be missing or left over when a model starts from another one's weights: heads, and
the second norms of dual models."""


@dataclass(frozen=True)
class WeightReport:
    """What `load_weights` with `strict=False` did not load.

    Attributes:
        missing: heads of the model that the file lacks; they keep their initial values.
        unexpected: heads in the file that the model lacks.
    """

    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()


def load_weights(model: nn.Module, path: str | Path, strict: bool = True, gather: Gather = whole) -> WeightReport:
    """Copy the weights in `path` into `model`.

    Args:
        path: UER `.bin` of any year, `.safetensors`, `*.index.json`, or a folder with one of them: a checkpoint, also
            one that holds DeepSpeed's files only, or the folder of a run, of which the newest checkpoint is read.
        strict: every name must be on both sides. Otherwise heads may be missing or left over, and are reported.
        gather: makes partitioned parameters whole (ZeRO-3).

    A dual model takes a file of one stream for both. Raises UserError, naming file, key and shapes, when something does
    not fit; after a wrong shape the model may be half loaded.
    """
    path = Path(path)
    parameters = dict(model.named_parameters(remove_duplicate=False))
    return _load(model, parameters, read_weights(path), path, () if strict else HEADS, gather)


def load_tensors(
    model: nn.Module,
    source: Source,
    where: Path,
    file_name: Callable[[str], str] = str,
    may_lack: tuple[str, ...] = (),
    gather: Gather = whole,
) -> WeightReport:
    """As `load_weights` for tensors that are already open, with heads that may be missing or left over.

    Args:
        source: name -> a function that gives the tensor.
        where: for errors.
        file_name: a parameter's name in the model -> its name in `source`.
        may_lack: beginnings of more names that may be missing or left over.
    """
    parameters = {file_name(name): p for name, p in model.named_parameters(remove_duplicate=False)}
    return _load(model, parameters, source, where, (*HEADS, *may_lack), gather)


def _load(
    model: nn.Module,
    parameters: Mapping[str, nn.Parameter],
    source: Source,
    path: Path,
    optional: tuple[str, ...],
    gather: Gather,
) -> WeightReport:
    source = _both_streams(source, parameters)
    if not any(name in parameters for name in source):
        raise _no_match(path, source, parameters)
    _check_sinusoids(model, source, path)
    groups = [(names, [name for name in names if name in source]) for names in _tied_names(parameters)]
    report = WeightReport(
        missing=tuple(name for names, found in groups if not found for name in names),
        unexpected=tuple(name for name in source if name not in parameters and not is_fixed_table(name)),
    )
    _check_leftovers(report, path, optional)
    for names, found in groups:
        if found:
            _copy(parameters[names[0]], {name: source[name]() for name in found}, path, gather)
    return report


def _both_streams(source: Source, parameters: Mapping[str, nn.Parameter]) -> Source:
    """`source` under the names of a dual model, where the model is dual and the file is not."""
    is_dual = any(name.startswith("embedding.dual.") for name in parameters)
    if not is_dual or any(name.startswith("embedding.dual.") for name in source):
        return source
    places = {"embedding.": "embedding.dual.embedding_{}.", "encoder.": "encoder.encoder_{}."}
    result: Source = {}
    for name, tensor in source.items():
        begin = next((begin for begin in places if name.startswith(begin)), None)
        if begin is None:
            result[name] = tensor
            continue
        for stream in (0, 1):
            result[places[begin].format(stream) + name.removeprefix(begin)] = tensor
    return result


def _check_sinusoids(model: nn.Module, source: Source, path: Path) -> None:
    """Files of 2021 carry the table they were trained with.

    A model that computes another one would go wrong silently.
    """
    table = next((name for name in source if is_fixed_table(name)), None)
    layouts = {module.layout for module in model.modules() if isinstance(module, SinusoidalEmbedding)}
    if table is not None and layouts - {"interleaved"}:
        raise UserError(
            f"{path}: holds {table!r}, so it was trained with UER-py's sinusoids of 2021, but sinusoidal_layout is "
            f"{', '.join(sorted(layouts))}; set it to interleaved and remove_embedding_layernorm to true."
        )


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


def _check_leftovers(report: WeightReport, path: Path, optional: tuple[str, ...]) -> None:
    for names, fault in ((report.missing, "lacks"), (report.unexpected, "holds, but the model lacks,")):
        wrong = [name for name in names if not name.startswith(optional)]
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
