"""Training objectives: how a sample is made from tokens; one file per idea."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from uer_ds.data.blend import StaticSamples
from uer_ds.data.masking import MaskingOptions
from uer_ds.errors import UserError
from uer_ds.registry import OBJECTIVES

if TYPE_CHECKING:
    from uer_ds.data.dataset import Dataset
    from uer_ds.data.loader import Objective


def build_objective(name: str, dataset: Dataset, options: Mapping[str, Any]) -> Objective:
    """Build the objective `name` over `dataset`.

    `options` are constructor arguments of any objective (vocab_size, special, seq_length, packed, ...) and fields of
    `MaskingOptions`, by name; each objective takes those that it knows. `dup_factor` above 0 makes all draws static
    (see `StaticSamples`). `UserError` when the objective cannot read such a dataset.
    """
    objective = OBJECTIVES[name]
    if dataset.manifest.layout not in objective.layouts:
        raise UserError(
            f"{dataset.folder} has the layout {dataset.manifest.layout!r}, but the {name} objective reads"
            f" {' or '.join(map(repr, objective.layouts))}; preprocess the text with --data_processor {name}."
        )
    fields = [field.name for field in dataclasses.fields(MaskingOptions)]
    masking = MaskingOptions(**{key: options[key] for key in fields if key in options})
    accepted = inspect.signature(objective).parameters
    values = {**options, "masking": masking}
    built = objective(dataset, **{key: value for key, value in values.items() if key in accepted})
    copies = options.get("dup_factor", 0)
    return StaticSamples(built, copies) if copies else built
