"""R-drop (Liang et al. 2021) as a model around the model: two passes with different dropout are to answer alike.

The loss is the mean of both cross entropies + alpha / 2 (KL(p, q) + KL(q, p)). Cost: twice the plain step.
"""

from __future__ import annotations

from torch import Tensor, nn

from uer_ds.data.batch import IGNORE, Batch, Terms
from uer_ds.errors import UserError
from uer_ds.finetune.model import TaskModel


class RDrop(nn.Module):
    """Answers as the model does; in training with the mean of both passes' terms, the loss with what is between them.

    Raises UserError when the head does not rank classes.
    """

    def __init__(self, model: TaskModel, alpha: float):
        super().__init__()
        if model.head.classes is None:
            raise UserError(
                "--r_drop_alpha compares probabilities of classes, which this task's head does not give; leave it out."
            )
        self.model = model
        self.classes: str = model.head.classes
        self.alpha = alpha

    def forward(self, batch: Batch, predict: bool = False) -> Terms | Tensor:
        """As the model's own."""
        if predict or not self.training:
            return self.model(batch, predict=predict)
        head, body = self.model.head, self.model.body
        scores = [head.scores(head.hidden(body, batch), batch) for _ in range(2)]
        first, second = (head.terms(one, batch) for one in scores)
        terms = {name: ((total + second[name][0]) / 2, count) for name, (total, count) in first.items()}
        apart = divergence(scores[0], scores[1], batch.labels[self.classes])
        loss, count = terms[f"loss_{self.classes}"]
        return {**terms, f"loss_{self.classes}": (loss + self.alpha / 2 * apart, count)}


def divergence(first: Tensor, second: Tensor, labels: Tensor) -> Tensor:
    """Sum of KL(p, q) + KL(q, p) between the classes of two scores [.., K], where `labels` [..] is not `IGNORE`."""
    ignored = (labels == IGNORE).unsqueeze(-1)  # made equal, not left out: how many there are only the device knows
    p, q = (scores.masked_fill(ignored, 0.0).log_softmax(-1) for scores in (first, second))
    return ((p.exp() - q.exp()) * (p - q)).sum()
