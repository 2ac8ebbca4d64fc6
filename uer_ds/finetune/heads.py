"""Heads of fine-tuning: hidden vectors -> scores -> sums and counts. Parameter names are UER-py's.

A `Head` learns and answers; most say only what their scores are and what these cost. B rows, S tokens, H width of the
layers, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from uer_ds.data.batch import IGNORE, Batch, Terms
from uer_ds.models.layers import Linear
from uer_ds.models.model import Model
from uer_ds.models.pooling import pool

Losses = Callable[[Tensor, Batch], Terms]
"""Scores and a batch with labels -> terms."""


class Head(nn.Module):
    """What stands on a body. `learn` and `answer` are what the engine calls; the rest are their parts.

    `classes` names the label whose classes `scores` [.., K] rank; None where they are something else.
    """

    terms: Losses
    classes: str | None = None

    def learn(self, body: Model, batch: Batch) -> Terms:
        """What the batch's labels cost."""
        return self.terms(self.scores(self.hidden(body, batch), batch), batch)

    def answer(self, body: Model, batch: Batch) -> Tensor:
        """What predictions are made from; its first axis is the examples. Needs no labels."""
        return self.outputs(self.scores(self.hidden(body, batch), batch), batch)

    def hidden(self, body: Model, batch: Batch) -> Any:
        """What `scores` reads: the encoder's output [B, S, H]."""
        return body.encode(batch)

    def scores(self, hidden: Any, batch: Batch) -> Tensor:
        """What the head thinks, differentiable."""
        raise NotImplementedError

    def outputs(self, scores: Tensor, batch: Batch) -> Tensor:
        """The scores themselves."""
        return scores


class PooledHead(Head):
    """A vector for the row, a dense layer with tanh, then K scores: classification, regression, several labels."""

    def __init__(self, hidden_size: int, outputs: int, pooling: str, losses: Losses, classes: str | None = None):
        super().__init__()
        self.output_layer_1 = Linear(hidden_size, hidden_size)
        self.output_layer_2 = Linear(hidden_size, outputs)
        self.pooling = pooling
        self.terms, self.classes = losses, classes

    def scores(self, hidden: Tensor, batch: Batch) -> Tensor:
        """[B, S, H] -> [B, K]"""
        pooled = pool(hidden, batch.segments, self.pooling)
        return self.output_layer_2(torch.tanh(self.output_layer_1(pooled))).float()


class MultiHead(Head):
    """A `PooledHead` for each of several sets of classes, whose scores stand one after the other.

    In training, where the label tells which set an example belongs to, the classes of the others are out of the
    question.
    """

    classes = "cls"

    def __init__(self, hidden_size: int, outputs: Sequence[int], pooling: str):
        super().__init__()
        self.output_layers_1 = nn.ModuleList(Linear(hidden_size, hidden_size) for _ in outputs)
        self.output_layers_2 = nn.ModuleList(Linear(hidden_size, size) for size in outputs)
        owner = torch.tensor([number for number, size in enumerate(outputs) for _ in range(size)])
        self.register_buffer("owner", owner, persistent=False)  # class -> set
        self.pooling = pooling
        self.terms = classification()

    def scores(self, hidden: Tensor, batch: Batch) -> Tensor:
        """[B, S, H] -> [B, K of all sets]"""
        pooled = pool(hidden, batch.segments, self.pooling)
        layers = zip(self.output_layers_1, self.output_layers_2, strict=True)
        scores = torch.cat([last(torch.tanh(first(pooled))) for first, last in layers], dim=-1).float()
        if "cls" not in batch.labels:
            return scores
        owner = self.get_buffer("owner")
        foreign = owner != owner[batch.labels["cls"]].unsqueeze(-1)  # [B, K]
        return scores.masked_fill(foreign, torch.finfo(scores.dtype).min)


class TokenHead(Head):
    """K scores for every token."""

    def __init__(self, hidden_size: int, outputs: int, classes: str):
        super().__init__()
        self.output_layer = Linear(hidden_size, outputs)
        self.terms, self.classes = classification(classes), classes

    def scores(self, hidden: Tensor, batch: Batch) -> Tensor:
        """[B, S, H] -> [B, S, K]"""
        return self.output_layer(hidden).float()


class SpanHead(Head):
    """Two scores for every token: that the answer starts, and that it ends there."""

    def __init__(self, hidden_size: int):
        super().__init__()
        self.output_layer = Linear(hidden_size, 2)
        self.terms = self._terms

    def scores(self, hidden: Tensor, batch: Batch) -> Tensor:
        """[B, S, H] -> [B, S, 2]; padding is out of the question."""
        scores = self.output_layer(hidden).float()
        return scores.masked_fill((batch.segments == 0).unsqueeze(-1), torch.finfo(scores.dtype).min)

    def _terms(self, scores: Tensor, batch: Batch) -> Terms:
        """Half the cross entropy of either end over the places of the row; right are rows with both ends right."""
        start, end = batch.labels["start"], batch.labels["end"]
        losses = [F.cross_entropy(scores[..., i], wanted, reduction="sum") for i, wanted in enumerate((start, end))]
        count = torch.full_like(losses[0], len(start))
        best = scores.argmax(1)  # [B, 2]
        correct = ((best[:, 0] == start) & (best[:, 1] == end)).sum().float()
        return {
            "loss_start": (losses[0] / 2, count),
            "loss_end": (losses[1] / 2, count),
            "accuracy_start": (correct, count),
        }

    def outputs(self, scores: Tensor, batch: Batch) -> Tensor:
        """Probabilities over the row, [B, S, 2]."""
        return scores.softmax(1)


class ChoiceHead(Head):
    """One score for each of an example's rows, from its first token; the likeliest row is the answer."""

    classes = "cls"

    def __init__(self, hidden_size: int, choices: int, dropout: float):
        super().__init__()
        self.output_layer = Linear(hidden_size, 1)
        self.dropout = nn.Dropout(dropout)
        self.choices = choices
        self.terms = classification()

    def scores(self, hidden: Tensor, batch: Batch) -> Tensor:
        """[B C, S, H] -> [B, C]"""
        return self.output_layer(self.dropout(hidden[:, 0])).float().view(-1, self.choices)


class PairHead(Head):
    """Two texts read apart: K scores from [u; v; |u - v|; u * v] (Reimers and Gurevych 2019)."""

    classes = "cls"

    def __init__(self, hidden_size: int, outputs: int, pooling: str):
        super().__init__()
        self.classifier = Linear(4 * hidden_size, outputs)
        self.pooling = pooling
        self.terms = classification()

    def hidden(self, body: Model, batch: Batch) -> tuple[Tensor, ...]:
        """Both streams, [B, S1, H] and [B, S2, H]."""
        return body.encode_streams(batch)

    def scores(self, hidden: tuple[Tensor, ...], batch: Batch) -> Tensor:
        """-> [B, K]"""
        assert batch.second is not None
        u, v = pool(hidden[0], batch.segments, self.pooling), pool(hidden[1], batch.second.segments, self.pooling)
        return self.classifier(torch.cat([u, v, (u - v).abs(), u * v], dim=-1)).float()


class ContrastiveHead(Head):
    """SimCSE (Gao et al. 2021): a text is to be nearer to its partner than to the partners of the rest of its batch.

    No parameters. Negatives are those of the micro-batch of one rank.
    """

    def __init__(self, pooling: str, temperature: float):
        super().__init__()
        self.pooling, self.temperature = pooling, temperature
        self.terms = self._terms

    def hidden(self, body: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        """Both texts through the same body, each with dropout of its own."""
        assert batch.second is not None
        return body.encode(batch), body.encode(batch.second)

    def scores(self, hidden: tuple[Tensor, Tensor], batch: Batch) -> Tensor:
        """Unit vectors of both texts, [B, 2, H]."""
        assert batch.second is not None
        pairs = zip(hidden, (batch.segments, batch.second.segments), strict=True)
        pooled = torch.stack([pool(vectors, segments, self.pooling) for vectors, segments in pairs], dim=1)
        return F.normalize(pooled.float(), dim=-1)

    def _terms(self, scores: Tensor, batch: Batch) -> Terms:
        similar = scores[:, 0] @ scores[:, 1].T / self.temperature  # [B, B]
        right = torch.arange(len(similar), device=similar.device)
        loss = F.cross_entropy(similar, right, reduction="sum")
        correct = (similar.argmax(-1) == right).sum().float()
        count = torch.full_like(loss, len(similar))
        return {"loss_pair": (loss, count), "accuracy_pair": (correct, count)}

    def outputs(self, scores: Tensor, batch: Batch) -> Tensor:
        """The cosine of each pair, [B, 1]."""
        return (scores[:, 0] * scores[:, 1]).sum(-1, keepdim=True)


class AnswerWordHead(Head):
    """The model's own mlm head at the row's one [MASK]: scores of the answer words only."""

    classes = "cls"

    def __init__(self, mask: int, words: Sequence[int]):
        super().__init__()
        self.mask, self.words = mask, list(words)
        self.terms = classification()

    def hidden(self, body: Model, batch: Batch) -> Tensor:
        """Scores of the vocabulary at the first [MASK], [B, V]."""
        place = (batch.ids == self.mask).int().argmax(1)
        states = body.encode(batch)[torch.arange(len(place), device=place.device), place]
        return body.target["mlm"].logits(states, batch.segments)  # type: ignore[operator]

    def scores(self, hidden: Tensor, batch: Batch) -> Tensor:
        """[B, V] -> [B, K]"""
        return hidden[:, self.words].float()


def classification(name: str = "cls", weights: Sequence[float] = (), share: float = 1.0) -> Losses:
    """Cross entropy of `scores` [.., K] against whole numbers, where the label is not `IGNORE`.

    `weights` of the classes multiply each example's loss (their mean is made 1); `share` multiplies all of it.
    """
    scale = torch.tensor(weights) / torch.tensor(weights).mean() if weights else None

    def terms(scores: Tensor, batch: Batch) -> Terms:
        labels = batch.labels[name]
        flat, wanted = scores.reshape(-1, scores.size(-1)), labels.reshape(-1)
        weight = None if scale is None else scale.to(flat)
        loss = F.cross_entropy(flat, wanted, weight, ignore_index=IGNORE, reduction="sum") * share
        real = wanted != IGNORE
        correct = ((flat.argmax(-1) == wanted) & real).sum().float()
        count = real.sum().float()
        return {f"loss_{name}": (loss, count), f"accuracy_{name}": (correct, count)}

    return terms


def distillation(alpha: float, weights: Sequence[float] = ()) -> Losses:
    """alpha times the mean square error against given logits [B, K], the rest cross entropy (UER-py's soft targets)."""
    hard = classification(weights=weights, share=1.0 - alpha)

    def terms(scores: Tensor, batch: Batch) -> Terms:
        given = batch.labels["soft"].to(scores)
        error = (scores - given).square().sum() * alpha
        return {**hard(scores, batch), "loss_soft": (error, torch.full_like(error, given.numel()))}

    return terms


def regression(scores: Tensor, batch: Batch) -> Terms:
    """Mean square error of scores [B, 1] against numbers [B]."""
    wanted = batch.labels["value"].to(scores)
    error = (scores.squeeze(-1) - wanted).square().sum()
    return {"loss_value": (error, torch.full_like(error, wanted.numel()))}


def several_labels(scores: Tensor, batch: Batch) -> Terms:
    """Binary cross entropy of every class by itself; labels [B, K] of 0 and 1."""
    wanted = batch.labels["each"].to(scores)
    loss = F.binary_cross_entropy_with_logits(scores, wanted, reduction="sum")
    correct = ((scores > 0) == (wanted > 0.5)).sum().float()
    count = torch.full_like(loss, wanted.numel())
    return {"loss_each": (loss, count), "accuracy_each": (correct, count)}
