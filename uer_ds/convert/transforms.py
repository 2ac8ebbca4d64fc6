"""The tensor functions that conversions need, each beside its inverse.

They are plain torch operations, so that they also run on the meta device (shapes only).
"""

from __future__ import annotations

import torch

from uer_ds.convert.rules import Transform
from uer_ds.errors import UserError
from uer_ds.storage.lazy import LazyTensor, TensorMap, Tensors

STREAMS = (0, 1)  # of a siamese model
SEGMENTS_NUM = 2
SEGMENT_TABLE = "embedding.seg.embedding.weight"

TRANSPOSED = Transform(lambda weight: (weight.t(),), lambda weight: (weight.t(),))


def _to_segments(table: torch.Tensor) -> Tensors:
    """[1 or 2, E] -> [3, E]: a row of zeros for padding; a single row serves both segments."""
    if table.shape[0] > SEGMENTS_NUM:
        raise UserError(
            f"the table of segments (token_type_embeddings) has {table.shape[0]} rows; only models with 1 or 2 "
            "segments can be converted."
        )
    return (torch.cat([table.new_zeros(1, table.shape[1]), table, table[-1:]])[:3],)


# Our segment table has a first row for padding, theirs has none (`remainder` keeps it).
SEGMENTS = Transform(lambda table: (table[1:],), _to_segments)


def join_segments(tensors: dict[str, LazyTensor]) -> None:
    """One row for both segments where they are equal, as a table with a single row was taken over."""
    if SEGMENT_TABLE in tensors:
        table = tensors[SEGMENT_TABLE].read()
        if (table[1] == table[2]).all():
            tensors[SEGMENT_TABLE] = tensors[SEGMENT_TABLE].map(lambda table: table[:2])


def rows_in_front(count: int) -> Transform:
    """Their table has `count` more rows in front, which no position uses: zeros there, cut here."""
    return Transform(
        lambda table: (torch.cat([table.new_zeros(count, table.shape[1]), table]),),
        lambda table: (table[count:],),
    )


# Query, key and value [I, H] each <-> one transposed matrix [H, 3 I]; biases [I] each <-> [3 I].
STACKED_MATRICES = Transform(
    lambda *weights: (torch.cat(weights).t(),),
    lambda stacked: stacked.t().chunk(3),
)
STACKED_BIASES = Transform(lambda *biases: (torch.cat(biases),), lambda stacked: stacked.chunk(3))

ROW_VECTOR = Transform(lambda bias: (bias.unsqueeze(0),), lambda bias: (bias.squeeze(0),))


def rotary_order(head_size: int) -> Transform:
    """Rows of query and key matrices: pairs (2i, 2i + 1) of each head here, (i, i + head_size / 2) there."""
    half = head_size // 2

    def to_theirs(weight: torch.Tensor) -> Tensors:
        return (weight.view(-1, half, 2, weight.shape[1]).transpose(1, 2).reshape(weight.shape),)

    def to_ours(weight: torch.Tensor) -> Tensors:
        return (weight.view(-1, 2, half, weight.shape[1]).transpose(1, 2).reshape(weight.shape),)

    return Transform(to_theirs, to_ours)


def scaled(tensor: torch.Tensor, factor: float) -> torch.Tensor:
    """`tensor * factor`, computed in float64 and rounded once, so that the inverse comes back within one last place."""
    if tensor.device.type == "meta":
        return tensor
    return (tensor.double() * factor).to(tensor.dtype)


def scale_output(tensors: dict[str, LazyTensor], name: str, factor: float) -> None:
    """Multiply the tensor `name` in place of the map."""
    tensors[name] = tensors[name].map(lambda values: scaled(values, factor))


def fold_layer_norm(tensors: TensorMap, inverse: bool = False) -> dict[str, LazyTensor]:
    """Change the kind of layer norm from UER-py's to the standard one (`inverse`: back) and keep the function.

    UER-py divides by the standard deviation with divisor n - 1, the standard form by the one with divisor n; a factor
    of sqrt((n - 1) / n) in the scale makes them equal. The epsilons (outside and inside the root) are left to the
    caller.
    """

    def folded(gamma: LazyTensor) -> LazyTensor:
        (n,) = gamma.shape
        factor = ((n - 1) / n) ** (-0.5 if inverse else 0.5)
        return gamma.map(lambda values: scaled(values, factor))

    return {name: folded(item) if name.endswith(".gamma") else item for name, item in tensors.items()}


def stream_norms(number: int) -> tuple[str, str]:
    """The two layer norms in a row that each stream of a siamese model has."""
    return f"embedding.dual.embedding_{number}.layer_norm", f"embedding.dual.stream_{number}_layer_norm"


def with_stream_norms(tensors: TensorMap) -> dict[str, LazyTensor]:
    """Siamese models from before the second norm: it takes the values of the first, which then does nothing."""
    result = dict(tensors)
    for first, second in map(stream_norms, STREAMS):
        if f"{first}.gamma" not in tensors or f"{second}.gamma" in tensors:
            continue
        gamma, beta = tensors[f"{first}.gamma"], tensors[f"{first}.beta"]
        result |= {f"{second}.gamma": gamma, f"{second}.beta": beta}
        result |= {f"{first}.gamma": gamma.map(torch.ones_like), f"{first}.beta": beta.map(torch.zeros_like)}
    return result
