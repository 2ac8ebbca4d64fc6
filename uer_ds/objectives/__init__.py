"""Training objectives: how a sample is made from tokens; one file per idea."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from uer_ds.registry import OBJECTIVES

if TYPE_CHECKING:
    from uer_ds.data.loader import Objective


def build_objective(name: str, dataset: Any, options: Mapping[str, Any]) -> Objective:
    """Build the objective `name` over `dataset`.

    `options` are constructor arguments of any objective, by name (vocab_size, special, seq_length, seed, packed, ...);
    each objective takes those that it knows.
    """
    objective = OBJECTIVES[name]
    accepted = inspect.signature(objective).parameters
    return objective(dataset, **{key: value for key, value in options.items() if key in accepted})
