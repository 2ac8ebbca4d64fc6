"""Training objectives: how a sample is made from tokens; one file per idea."""

from __future__ import annotations

from typing import TYPE_CHECKING

from uer_ds.data.blend import StaticSamples
from uer_ds.errors import UserError
from uer_ds.objectives.options import RowOptions
from uer_ds.registry import OBJECTIVES

if TYPE_CHECKING:
    from uer_ds.data.dataset import Dataset
    from uer_ds.data.samples import Objective

__all__ = ["RowOptions", "build_objective"]


def build_objective(name: str, dataset: Dataset, options: RowOptions) -> Objective:
    """Build the objective `name` over `dataset`.

    `options.dup_factor` above 0 makes all draws static (see `StaticSamples`). `UserError` when the objective cannot
    read such a dataset.
    """
    objective = OBJECTIVES[name]
    layouts = objective.spec.layouts
    if dataset.manifest.layout not in layouts:
        raise UserError(
            f"{dataset.folder} has the layout {dataset.manifest.layout!r}, but the {name} objective reads"
            f" {' or '.join(map(repr, layouts))}; preprocess the text with --data_processor {name}."
        )
    built: Objective = objective(dataset, options)
    return StaticSamples(built, options.dup_factor) if options.dup_factor else built
