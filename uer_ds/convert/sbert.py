"""Siamese models (SBERT): two streams here, one plain BERT at Hugging Face.

Since 2023 UER-py puts a second layer norm after each stream's embedding. Two norms in a row are one only where the
first does nothing (scale 1, shift 0), so that is how a single norm is written: the second has its values. UER-py's
own script writes names its model does not read, and leaves the second norm where it changes the result. Exact up to
the epsilon of the norms.
"""

from __future__ import annotations

import re
from dataclasses import replace

from uer_ds.config.model import ModelConfig
from uer_ds.convert.our_model import OurModel
from uer_ds.convert.rules import listed
from uer_ds.convert.transforms import STREAMS, stream_norms, with_stream_norms
from uer_ds.errors import UserError
from uer_ds.storage.lazy import LazyTensor, same_values

SIAMESE = "sbert"  # what --family calls these models


def stream_names(number: int) -> dict[str, str]:
    """Beginnings of names of a plain model -> those of a stream."""
    return {"embedding.": f"embedding.dual.embedding_{number}.", "encoder.": f"encoder.encoder_{number}."}


def one_stream(model: OurModel, ignore: str | None = None) -> OurModel:
    """The plain model that both streams are; refuses streams that differ and norms that cannot be one.

    `ignore`: an expression for tensors that may be lost.
    """
    lost = [name for name in model.tensors if ignore is not None and re.search(ignore, name)]
    tensors = {name: tensor for name, tensor in model.tensors.items() if name not in lost}
    for number in STREAMS:
        _join_norms(tensors, number, str(model.path))
    _drop_second_stream(tensors, str(model.path))
    names = stream_names(0)
    plain = {}
    for name, tensor in tensors.items():
        old = next((old for old, new in names.items() if name.startswith(new)), None)
        plain[old + name.removeprefix(names[old]) if old else name] = tensor
    assert model.config.stream_0 is not None
    vocab_size = model.config.vocab_size or model.config.stream_0.vocab_size
    config = model.config.stream_0.replace(vocab_size=vocab_size, target=(), pooling=model.config.pooling)
    return replace(model, config=config, tensors=plain, dropped=(*model.dropped, *lost))


def two_streams(model: OurModel) -> OurModel:
    """Both streams with the weights of a plain model (tied), and the second norms that UER-py expects."""
    tensors = {}
    for number in STREAMS:
        for old, new in stream_names(number).items():
            named = {name: tensor for name, tensor in model.tensors.items() if name.startswith(old)}
            tensors.update({new + name.removeprefix(old): tensor for name, tensor in named.items()})
    tensors = with_stream_norms(tensors)
    stream = model.config.replace(target=(), tie_weights=False)
    config = ModelConfig(
        embedding=("dual",),
        encoder="dual",
        stream_0=stream,
        stream_1=stream,
        target=(),
        tie_weights=True,
        dropout=stream.dropout,
        vocab_size=stream.vocab_size,
        pooling=stream.pooling,
    )
    return replace(model, config=config, tensors=tensors)


def _join_norms(tensors: dict[str, LazyTensor], number: int, where: str) -> None:
    """Leave one layer norm in a stream's embedding."""
    first, second = stream_norms(number)
    if f"{second}.gamma" not in tensors:
        return
    outer = {part: tensors.pop(f"{second}.{part}") for part in ("gamma", "beta")}
    if not _does_nothing(tensors, first):
        lost = ["stream_._layer_norm", *(["classifier"] if "classifier.weight" in tensors else [])]
        raise UserError(
            f"{where}: {first} and {second} are both trained and no Hugging Face model has two norms in a row; "
            f"allow losing the second with --ignore '{'|'.join(lost)}'."
        )
    tensors.update({f"{first}.{part}": tensor for part, tensor in outer.items()})


def _does_nothing(tensors: dict[str, LazyTensor], norm: str) -> bool:
    return bool((tensors[f"{norm}.gamma"].read() == 1).all() and (tensors[f"{norm}.beta"].read() == 0).all())


def _drop_second_stream(tensors: dict[str, LazyTensor], where: str) -> None:
    """Remove the second stream when it equals the first."""
    first, second = stream_names(0), stream_names(1)
    different = []
    for old, new in second.items():
        for name in [name for name in tensors if name.startswith(new)]:
            twin = first[old] + name.removeprefix(new)
            if twin not in tensors or not same_values(tensors[twin], tensors[name]):
                different.append(name)
            del tensors[name]
    if different:
        raise UserError(
            f"{where}: the two streams differ ({listed(different)} not as in stream 0); "
            "keep stream 0 alone with --ignore 'embedding_1|encoder_1|stream_1'."
        )
