"""Whether a conversion is verified, and against what: what was written against the original, before it is published.

The original is what `transformers` builds from the input's folder where that is possible, otherwise the tensors that
were read.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from uer_ds.config.model import ModelConfig
from uer_ds.convert.families.family import Family
from uer_ds.convert.formats import open_checkpoint
from uer_ds.convert.our_model import OurModel, read_our_model
from uer_ds.convert.sizes import Hints
from uer_ds.convert.verify import (
    SMALL,
    Difference,
    difference_from_ours,
    difference_from_theirs,
    refuse_difference,
    transformers_is_installed,
)
from uer_ds.errors import UserError
from uer_ds.storage.lazy import TensorMap


def verified(
    model: OurModel, compare: Callable[[], Difference | None], verify: bool | None, is_loose: bool
) -> Difference | None:
    """The difference of logits where verifying is wanted (None: for small models); `UserError` when it is too large."""
    wanted = count_elements(model.tensors) <= SMALL if verify is None else verify
    difference = compare() if wanted else None
    if difference is not None:
        refuse_difference(difference, str(model.path), is_loose)
    elif verify:
        raise UserError("--verify: transformers is not installed; `pip install transformers` or leave --verify out.")
    return difference


def from_theirs(model: OurModel, folder: Path, family: Family, head: str) -> Difference | None:
    """How far `model` is from the Hugging Face model in `folder`; None where `transformers` is not installed."""
    return difference_from_theirs(model, folder, family, head) if transformers_is_installed() else None


def from_written(model: OurModel, place: Path, verify: bool | None) -> Difference | None:
    """How far the model in the files at `place` is from the original: from Hugging Face's, or from what was read."""
    written = read_our_model(open_checkpoint(place), Hints())
    if has_reference(model):
        assert model.folder and model.family and model.head
        return from_theirs(written, model.folder, model.family, model.head)
    if model.family and verify:
        raise UserError(
            f"{model.path}: --verify builds the original with transformers, which needs a folder with weights and "
            "config.json; name the folder, or leave --verify out."
        )
    return difference_from_ours(model, written)


def has_reference(model: OurModel) -> bool:
    return model.folder is not None and model.head is not None


def has_other_eps(config: ModelConfig, family: Family) -> bool:
    """Whether both sides of an export have different epsilons in their layer norms, so that their logits differ."""
    return config.layernorm == "uer" or family.fixed_layernorm_eps not in (None, config.layernorm_eps)


def count_elements(tensors: TensorMap) -> int:
    """Number of parameters, tied tensors counted once."""
    return sum(tensor.size for tensor in set(tensors.values()))
