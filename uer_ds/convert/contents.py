"""What a model of ours consists of: exactly the tensors that its configuration asks for, and fine-tuned heads.

The model is built on torch's meta device, so nothing is allocated. A converter that does not look at every name and
shape writes files that only the next program refuses.
"""

from __future__ import annotations

import re
from dataclasses import replace

from uer_ds.config.model import ModelConfig
from uer_ds.convert.families.catalogue import family_of
from uer_ds.convert.our_model import OurModel
from uer_ds.convert.rules import FINE_TUNED, is_our_head, listed
from uer_ds.errors import UserError, unknown_name
from uer_ds.models.model import build_shapes
from uer_ds.storage.lazy import TensorMap

# Layers of fine-tuned heads -> how many vectors of the encoder each reads (siamese heads: u, v, |u - v|, u * v).
VECTORS = {"output_layer_1": 1, "output_layer_2": 1, "output_layer": 1, "classifier": 4}


def checked(model: OurModel, ignore: str | None) -> OurModel:
    """`model` without the unknown tensors that `ignore` allows to lose; anything else wrong is a `UserError`."""
    where = str(model.path)
    expected = expected_shapes(model.config)
    unknown = [name for name in model.tensors if name not in expected and not FINE_TUNED.match(name)]
    lost = [name for name in unknown if ignore is not None and re.search(ignore, name)]
    refused = [name for name in unknown if name not in lost]
    if refused:
        raise UserError(f"{where}: {listed(refused)} no part of this model; allow losing them with --ignore REGEX.")
    missing = [name for name in expected if name not in model.tensors]
    if missing:
        raise UserError(
            f"{where}: {listed(missing)} missing; the file is incomplete, or its configuration is another's."
        )
    for name, shape in expected.items():
        _refuse_shape(where, name, model.tensors[name].shape, shape)
    tensors = {name: tensor for name, tensor in model.tensors.items() if name not in lost}
    _refuse_odd_heads(where, tensors, (model.config.stream_0 or model.config).hidden_size or 0)
    return replace(model, tensors=tensors, dropped=(*model.dropped, *lost))


def expected_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every parameter, tied ones under each name."""
    named = build_shapes(config).named_parameters(remove_duplicate=False)
    return {name: tuple(parameter.shape) for name, parameter in named}


def _refuse_shape(where: str, name: str, found: tuple[int, ...], expected: tuple[int, ...]) -> None:
    if found != expected:
        raise UserError(
            f"{where}: {name} has the shape {list(found)}, but this model needs {list(expected)}; "
            "the file is damaged, or its configuration is another's."
        )


def _refuse_odd_heads(where: str, tensors: TensorMap, hidden_size: int) -> None:
    """Fine-tuned heads may have any number of classes; the rest of their shapes follows."""
    for layer, vectors in VECTORS.items():
        parts = [f"{layer}.weight", f"{layer}.bias"]
        found = [tensors[name] for name in parts if name in tensors]
        if not found:
            continue
        if len(found) == 1:
            raise UserError(f"{where}: of {' and '.join(parts)} one is missing; the file is incomplete.")
        rows = found[0].shape[0] if found[0].shape else 0
        _refuse_shape(where, parts[0], found[0].shape, (rows, vectors * hidden_size))
        _refuse_shape(where, parts[1], found[1].shape, (rows,))


def with_choices(model: OurModel, head_name: str | None, family_name: str | None) -> OurModel:
    """`model` with the head that the user chose (none: without any); the others are reported as dropped.

    The family that the user named must be the model's.
    """
    where = str(model.path)
    if family_name:
        family_of(model.config, where, family_name)
    if head_name is None:
        return model
    kept: set[str] = set()
    target: tuple[str, ...] = ()
    data_processor = None
    if head_name != "none":
        family = family_of(model.config, where, family_name)
        if head_name not in family.heads:
            raise unknown_name("head", head_name, family.heads, f"--head of family {family.name}")
        head = family.heads[head_name]
        target, data_processor = head.target, head.data_processor
        kept = {name for item in head.rules for name in item.ours}
        missing = [name for item in head.rules if not item.optional for name in item.ours if name not in model.tensors]
        if missing:
            raise UserError(f"{where}: has no head {head_name}: {listed(missing)} missing; choose another --head.")
    lost = [name for name in model.tensors if is_our_head(name) and name not in kept]
    tensors = {name: tensor for name, tensor in model.tensors.items() if name not in lost}
    config = model.config.replace(target=target, data_processor=data_processor)
    return replace(model, config=config, tensors=tensors, dropped=(*model.dropped, *lost))
