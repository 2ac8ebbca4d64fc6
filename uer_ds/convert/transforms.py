"""The tensor functions that conversions need, each beside its inverse.

They are plain torch operations, so that they also run on the meta device (shapes only).
"""

from __future__ import annotations

import torch

from uer_ds.convert.lazy import LazyTensor, TensorMap, Tensors
from uer_ds.convert.rules import Transform

TRANSPOSED = Transform(lambda weight: (weight.t(),), lambda weight: (weight.t(),))


def _zero_row_first(table: torch.Tensor) -> Tensors:
    return (torch.cat([table.new_zeros(1, table.shape[1]), table]),)


# Our segment table [3, E] has a first row for padding; theirs [2, E] has none. The row is lost on the way there.
SEGMENTS = Transform(lambda table: (table[1:],), _zero_row_first)


def scaled(tensor: torch.Tensor, factor: float) -> torch.Tensor:
    """`tensor * factor`, computed in float64 and rounded once, so that the inverse comes back within one last place."""
    if tensor.device.type == "meta":
        return tensor
    return (tensor.double() * factor).to(tensor.dtype)


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
