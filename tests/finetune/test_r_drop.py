"""R-drop against a computation by hand, and which tasks it is for."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tests.finetune.test_heads import batch, mean, task_model
from uer_ds.data.batch import IGNORE
from uer_ds.errors import UserError
from uer_ds.finetune.crf import CrfHead
from uer_ds.finetune.heads import PooledHead, TokenHead, regression
from uer_ds.finetune.model import TaskModel, file_name
from uer_ds.finetune.r_drop import RDrop, divergence


def by_hand(p: torch.Tensor, q: torch.Tensor) -> float:
    """KL(p, q) + KL(q, p) of two distributions."""
    pairs = list(zip(p.tolist(), q.tolist(), strict=True))
    return sum(a * torch.tensor(a / b).log().item() + b * torch.tensor(b / a).log().item() for a, b in pairs)


def test_the_loss_is_the_mean_of_both_passes_and_half_the_symmetric_divergence() -> None:
    model, rows = task_model(dropout=0.3), batch()
    around = RDrop(model, alpha=300.0).train()
    torch.manual_seed(11)
    found = around(rows)
    torch.manual_seed(11)
    passes = [model.head.scores(model.body.encode(rows), rows) for _ in range(2)]
    labels = rows.labels["cls"]
    plain = sum(F.cross_entropy(scores, labels) for scores in passes) / 2
    apart = sum(by_hand(p, q) for p, q in zip(*(scores.softmax(-1) for scores in passes), strict=True)) / len(labels)
    assert 300 * apart > 1e-3
    assert mean(found).item() == pytest.approx(plain.item() + 300 * apart / 2, abs=1e-5)
    accuracies = [(scores.argmax(-1) == labels).sum() for scores in passes]
    assert found["accuracy_cls"][0] == sum(accuracies) / 2 and found["accuracy_cls"][1] == 4


def test_without_dropout_or_in_evaluation_nothing_changes() -> None:
    model, rows = task_model(dropout=0.3), batch()
    around = RDrop(model, alpha=2.0).eval()
    torch.testing.assert_close(mean(around(rows)), mean(model(rows)))
    torch.testing.assert_close(around(rows, predict=True), model(rows, predict=True))
    still = task_model()
    torch.testing.assert_close(mean(RDrop(still, alpha=2.0).train()(rows)), mean(still(rows)))
    assert {file_name(name) for name, _ in around.named_parameters()} == {
        file_name(name) for name, _ in model.named_parameters()
    }


def test_tokens_without_a_label_do_not_count() -> None:
    first, second = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    labels = torch.tensor([[0, IGNORE, 2], [IGNORE, IGNORE, 1]])
    expected = sum(by_hand(first[place].softmax(-1), second[place].softmax(-1)) for place in ((0, 0), (0, 2), (1, 2)))
    assert divergence(first, second, labels).item() == pytest.approx(expected, abs=1e-5)
    first[0, 1] = torch.inf  # nor do they spoil anything
    first.requires_grad_()
    divergence(first, second, labels).backward()
    assert first.grad is not None and first.grad.isfinite().all() and not first.grad[0, 1].any()


def test_it_is_for_heads_that_rank_classes() -> None:
    body = task_model().body
    assert TokenHead(16, 3, "tags").classes == "tags"
    for head in (PooledHead(16, 1, "first", regression), CrfHead(16, 3)):
        with pytest.raises(UserError, match="--r_drop_alpha compares probabilities of classes"):
            RDrop(TaskModel(body, head), 1.0)
