"""The chunked vocabulary loss against torch's own cross entropy on whole logits."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from uer_ds.models import vocabulary
from uer_ds.models.vocabulary import VocabularyLinear

WIDTH, VOCABULARY = 8, 50


def whole_loss(layer: VocabularyLinear, hidden: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """With UER-py's smoothing: the gold label keeps 1 - s - e, and every label gets e = s / (V - 1)."""
    scores = F.log_softmax(F.linear(hidden, layer.weight, layer.bias).float(), dim=-1)
    spread = smoothing / (VOCABULARY - 1)
    gold = F.nll_loss(scores, labels, reduction="sum")
    return (1 - smoothing - spread) * gold - spread * scores.sum()


@pytest.mark.parametrize("rows", [1000, 3, 1], ids=["one chunk", "three rows a chunk", "one row a chunk"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("bias", [True, False])
def test_chunks_equal_the_whole(rows: int, smoothing: float, bias: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary, "CHUNK_ELEMENTS", rows * VOCABULARY)
    torch.manual_seed(0)
    layer = VocabularyLinear(WIDTH, VOCABULARY, bias)
    torch.nn.init.normal_(layer.weight)
    labels = torch.randint(0, VOCABULARY, (7,))
    results = []
    for compute in (lambda x: layer(x, labels, smoothing)[0], lambda x: whole_loss(layer, x, labels, smoothing)):
        hidden = torch.randn(7, WIDTH, generator=torch.Generator().manual_seed(1)).requires_grad_()
        layer.zero_grad()
        loss = compute(hidden)
        (loss * 0.5).backward()
        gradients = [hidden.grad, *(p.grad.clone() for p in layer.parameters())]
        results.append((loss.detach(), gradients))
    torch.testing.assert_close(*results)


def test_right_predictions_are_counted() -> None:
    layer = VocabularyLinear(WIDTH, VOCABULARY)
    hidden = torch.randn(20, WIDTH)
    labels = layer(hidden).argmax(-1)
    labels[:5] = (labels[:5] + 1) % VOCABULARY
    assert layer(hidden, labels)[1] == 15
    assert layer(hidden[:5], labels[:5])[1] == 0


def test_of_equal_logits_the_first_counts() -> None:
    """In bfloat16 logits are often equal; what argmax answers is what is counted."""
    torch.manual_seed(0)
    layer = VocabularyLinear(WIDTH, VOCABULARY, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.randint(-1, 2, layer.weight.shape))
    hidden = torch.randint(-1, 2, (400, WIDTH)).float()
    logits = layer(hidden)
    best = logits.max(dim=-1, keepdim=True)
    ties = (logits == best.values).sum(-1) > 1
    assert ties.sum() > 50
    labels = logits.argmax(-1)
    later = VOCABULARY - 1 - logits.flip(-1).argmax(-1)
    assert layer(hidden, labels)[1] == 400
    assert layer(hidden, later)[1] == 400 - ties.sum()


def test_nothing_to_predict_gives_zero_and_zero_gradients() -> None:
    layer = VocabularyLinear(WIDTH, VOCABULARY)
    hidden = torch.zeros(0, WIDTH, requires_grad=True)
    loss, correct = layer(hidden, torch.zeros(0, dtype=torch.long))
    loss.backward()
    assert loss == correct == 0
    assert layer.weight.grad is not None and not layer.weight.grad.any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_sums_in_float32(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    layer = VocabularyLinear(WIDTH, VOCABULARY).to(dtype)
    hidden = torch.randn(3000, WIDTH).to(dtype).requires_grad_()
    labels = torch.randint(0, VOCABULARY, (3000,))
    loss, correct = layer(hidden, labels)
    assert loss.dtype == correct.dtype == torch.float32
    torch.testing.assert_close(loss, whole_loss(layer, hidden, labels, 0.0), rtol=1e-5, atol=0)
    loss.backward()
    assert hidden.grad is not None and hidden.grad.dtype == dtype


def test_evaluation_keeps_no_gradients() -> None:
    layer = VocabularyLinear(WIDTH, VOCABULARY)
    with torch.no_grad():
        loss, _ = layer(torch.randn(3, WIDTH), torch.zeros(3, dtype=torch.long))
    assert not loss.requires_grad
