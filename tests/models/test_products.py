"""Both libraries that multiply matrices give the same, forward and backward, whatever lies how in memory."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F

from uer_ds.models import products

SHAPES = [((7, 5), 3), ((4, 6, 5), 9), ((1, 5), 5), ((3, 1, 16), 64), ((64, 32), 8)]


@pytest.fixture(autouse=True)
def by_onednn(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """As on a processor that prefers oneDNN; counts how often it is asked."""
    if not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        pytest.skip("this torch has no oneDNN")
    monkeypatch.setattr(products, "prefers_onednn", lambda: True)
    calls: list[int] = []
    kernel = products._onednn
    monkeypatch.setattr(products, "_onednn", lambda *values: calls.append(1) or kernel(*values))
    yield calls


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("shape", "outputs"), SHAPES)
def test_a_linear_layer_and_its_gradients(
    shape: tuple[int, ...], outputs: int, bias: bool, by_onednn: list[int]
) -> None:
    torch.manual_seed(0)
    ours = [torch.randn(shape), torch.randn(outputs, shape[-1]), torch.randn(outputs)][: 3 if bias else 2]
    exact = [value.double().requires_grad_() for value in ours]
    ours = [value.requires_grad_() for value in ours]
    weights = torch.randn(*shape[:-1], outputs)
    found, wanted = products.linear(*ours), F.linear(*exact)
    torch.testing.assert_close(found, wanted.float())
    (found * weights).sum().backward()
    (wanted * weights.double()).sum().backward()
    for one, other in zip(ours, exact, strict=True):
        assert one.grad is not None and other.grad is not None and one.grad.is_contiguous()
        torch.testing.assert_close(one.grad, other.grad.float())
    assert len(by_onednn) == 3
    with torch.no_grad():
        torch.testing.assert_close(products.linear(*ours), found)


def test_views_and_a_gradient_that_is_one_number() -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(6, 4, 5), torch.randn(3, 10)[:, ::2].requires_grad_()
    part = x.transpose(0, 1)[:, 1:].requires_grad_()
    products.linear(part, weight).sum().backward()
    assert part.grad is not None and weight.grad is not None
    torch.testing.assert_close(part.grad, weight.detach().sum(0).expand_as(part))
    torch.testing.assert_close(weight.grad, part.detach().sum((0, 1)).expand_as(weight))


def test_what_only_one_side_wants(by_onednn: list[int]) -> None:
    x, weight = torch.randn(4, 5), torch.randn(3, 5, requires_grad=True)
    products.linear(x, weight).sum().backward()
    assert x.grad is None and len(by_onednn) == 2
    products.linear(x.requires_grad_(), weight.detach()).sum().backward()
    assert len(by_onednn) == 4


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_a_frozen_weight_keeps_no_input(kind: torch.dtype, by_onednn: list[int]) -> None:
    """Adapters freeze all other weights, and what these have read need not stay."""
    if kind == torch.bfloat16 and not products.multiplies_bfloat16():
        pytest.skip("this CPU does not multiply bfloat16 by oneDNN")
    x, weight, bias = (torch.randn(shape, dtype=kind) for shape in ((2, 4, 5), (3, 5), (3,)))
    kept: list[torch.Size] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor.shape) or tensor, lambda x: x):
        y = products.linear(x.requires_grad_(), weight, bias)
    assert kept == [weight.shape] and by_onednn
    y.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, weight.sum(0).expand_as(x), rtol=2**-7, atol=1e-2)


def test_products_without_gradients() -> None:
    a, b = torch.randn(7, 5), torch.randn(5, 9)
    torch.testing.assert_close(products.matmul(a, b), a @ b)
    for left, right in ((a, torch.randn(7, 2)), (a, torch.randn(7, 11))):
        found = products.weight_gradient(left, right)
        assert found.is_contiguous()
        torch.testing.assert_close(found, left.T @ right)


def test_everything_else_is_torchs_own(by_onednn: list[int]) -> None:
    x, weight = torch.randn(4, 5), torch.randn(3, 5)
    for kind in (torch.bfloat16, torch.float64):
        assert products.linear(x.to(kind), weight.to(kind)).dtype == kind
    assert products.linear(x[:0], weight).shape == (0, 3)
    with torch.autocast("cpu", torch.bfloat16):
        assert products.linear(x, weight).dtype == torch.bfloat16
    assert products.linear(x.to("meta"), weight.to("meta")).is_meta
    assert not by_onednn


@pytest.mark.parametrize("bias", [True, False])
def test_bfloat16_with_a_bias_is_as_exact_as_torchs(
    bias: bool, by_onednn: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One rounding, at the end: the bias is added to a product that is float32 still."""
    if not products.multiplies_bfloat16():
        pytest.skip("this CPU does not multiply bfloat16 by oneDNN")
    torch.manual_seed(0)
    values = [torch.randn(64, 96), torch.randn(48, 96), 8 * torch.randn(48)][: 3 if bias else 2]
    ours = [value.bfloat16().requires_grad_() for value in values]
    exact = [value.detach().double().requires_grad_() for value in ours]
    upstream = torch.randn(64, 48).bfloat16()
    found, wanted = products.linear(*ours), F.linear(*exact)
    torch.testing.assert_close(found.double(), wanted, rtol=2**-8, atol=1e-5)
    found.backward(upstream)
    wanted.backward(upstream.double())
    for one, other in zip(ours, exact, strict=True):
        assert one.grad is not None and other.grad is not None and one.grad.dtype == torch.bfloat16
        torch.testing.assert_close(one.grad.double(), other.grad, rtol=2**-7, atol=1e-4)
    assert len(by_onednn) == (1 if bias else 0)
    monkeypatch.setattr(products, "multiplies_bfloat16", lambda: False)
    by_onednn.clear()
    products.linear(*ours)
    assert not by_onednn
