"""Writing texts: prompts are read once, then every step reads one token a row and chooses the next.

B rows of a batch, Q tokens read in a step, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from uer_ds.config.generate import DecodingConfig
from uer_ds.data.batch import Batch, padded
from uer_ds.engine.partitioned import wished_by_all
from uer_ds.generate.forms import Form
from uer_ds.generate.sampling import Uniforms, draw, filtered, narrowed
from uer_ds.models.model import Model
from uer_ds.models.past import Past

SOURCE, ANSWER = 1, 2
"""Segments of a prompt and, under a prefix mask, of what is written behind it."""


@dataclass(frozen=True)
class Prompt:
    """What a text is written for.

    Attributes:
        number: of the text; its draws depend on it.
        ids: tokens to go on from; of a model with decoder the source.
        begin: tokens that the answer of a decoder begins with.
        form: what the text must look like, or None.
        longest: tokens that may be written.
    """

    number: int
    ids: list[int]
    begin: list[int] = field(default_factory=list)
    form: Form | None = None
    longest: int = 2**31


@dataclass
class Text:
    """What has been written for a prompt: tokens behind it, sum of their log probabilities, and whether it ended by
    itself."""

    prompt: Prompt
    ids: list[int] = field(default_factory=list)
    log_probability: float = 0.0
    ended: bool = False

    @property
    def is_done(self) -> bool:
        """Nothing more comes: it has ended, or it is as long as it may be."""
        return self.ended or len(self.ids) >= self.prompt.longest


@dataclass(frozen=True)
class Rules:
    """What holds for all texts.

    Attributes:
        sampling: how a token is chosen.
        longest: tokens that are written for any prompt at most.
        end: token that ends a text; None: nothing does.
        banned: tokens that must not be written.
        stops: says of the tokens of a text whether it ends there.
    """

    sampling: DecodingConfig
    longest: int
    end: int | None
    banned: tuple[int, ...] = ()
    stops: Callable[[list[int]], bool] = lambda ids: False


class Reader:
    """A model that has read its prompts and reads on, token by token."""

    def __init__(self, model: Model, prompts: Sequence[Prompt], longest: int):
        """Read `prompts`; `longest` more tokens will follow at most."""
        self.model = model
        self.device = next(model.parameters()).device
        self._source: tuple[Batch, Tensor] | None = None
        self._answer = ANSWER if model.config.mask == "causal_with_prefix" else SOURCE
        if model.decoder is None:
            self.logits, self._past = self._read_prompts([prompt.ids for prompt in prompts], longest)
            lengths = [len(prompt.ids) for prompt in prompts]
        else:
            batch = padded([prompt.ids for prompt in prompts]).to(self.device)
            self._source = batch, model.encode(batch)
            self.logits, self._past = self._read_alike([prompt.begin for prompt in prompts], longest)
            lengths = [len(prompt.begin) for prompt in prompts]
        self._lengths = torch.tensor(lengths, device=self.device)  # [B] tokens read

    def read(self, tokens: Tensor) -> None:
        """One more token of each row, [B]; its `logits` [B, V] say what may follow."""
        segments = torch.full_like(tokens, self._answer if self._source is None else SOURCE).unsqueeze(1)
        batch = Batch(tokens.unsqueeze(1), segments, self._lengths.unsqueeze(1))
        self._lengths = self._lengths + 1
        self.logits = self.model.next_logits(batch, self._past, self._source)

    def select(self, rows: Tensor) -> None:
        """Keep `rows` [B'] of the rows, in that order; one may stand several times."""
        self._past.select(rows)
        self._lengths, self.logits = self._lengths[rows], self.logits[rows]
        if self._source is not None:
            batch, memory = self._source
            self._source = Batch(batch.ids[rows], batch.segments[rows]), memory[rows]

    def _read_prompts(self, prompts: Sequence[list[int]], longest: int) -> tuple[Tensor, Past]:
        """Prompts of equal length together, so that no row holds padding; their pasts are joined."""
        lengths = sorted({len(ids) for ids in prompts})
        groups = [[row for row, ids in enumerate(prompts) if len(ids) == length] for length in lengths]
        found = [self._read_alike([prompts[row] for row in group], 0) for group in groups]
        order = torch.tensor([row for group in groups for row in group], device=self.device)
        first, *others = (past for _, past in found)
        first.join(others, lengths[-1] + longest)
        back = order.argsort()
        first.select(back)
        return torch.cat([logits for logits, _ in found])[back], first

    def _read_alike(self, rows: Sequence[list[int]], longest: int) -> tuple[Tensor, Past]:
        """The scores behind rows of equal length, and their past."""
        ids = torch.tensor(rows, device=self.device)
        past = self.model.new_past(ids.size(1) + longest)
        positions = torch.arange(ids.size(1), device=self.device).expand_as(ids)
        batch = Batch(ids, torch.full_like(ids, SOURCE), positions)
        return self.model.next_logits(batch, past, self._source), past


@torch.no_grad()
def write(model: Model, prompts: Sequence[Prompt], rules: Rules) -> Iterator[list[Text]]:
    """Write a text for every prompt, all together; yields the texts after every token, at last the finished ones.

    Rows that have ended are left out of the batch when they are half of it. Where weights are partitioned, all ranks
    go on until everybody has ended, for each step gathers weights from all of them.
    """
    together = any(hasattr(parameter, "ds_id") for parameter in model.parameters())
    texts = [Text(prompt) for prompt in prompts]
    rows, uniforms = list(texts), Uniforms(rules.sampling.seed)
    reader = Reader(model, prompts, rules.longest)
    for place in range(rules.longest):
        chosen, log_probabilities = _choose(reader.logits, rows, place, rules, uniforms)
        for text, token, log_probability in zip(rows, chosen.tolist(), log_probabilities.tolist(), strict=True):
            if not text.is_done:
                _append(text, token, log_probability, rules)
        yield texts
        ended = torch.tensor([text.is_done for text in rows], device=reader.device)
        if place + 1 == rules.longest or (wished_by_all(ended.all()) if together else bool(ended.all())):
            return
        if not together and 2 * int(ended.sum()) >= len(rows):
            kept = (~ended).nonzero().squeeze(1)
            reader.select(kept)
            rows, chosen = [rows[row] for row in kept.tolist()], chosen[kept]
        reader.read(chosen)


def _choose(
    logits: Tensor, rows: Sequence[Text], place: int, rules: Rules, uniforms: Uniforms
) -> tuple[Tensor, Tensor]:
    """[B] tokens and their log probabilities under the model."""
    allowed = permitted(logits, rows, place, rules)
    if rules.sampling.greedy:
        chosen = allowed.argmax(-1)
    else:
        numbers = uniforms.at([text.prompt.number for text in rows], place)
        chosen = draw(narrowed(allowed, rules.sampling), numbers)
    return chosen, logits.log_softmax(-1).gather(1, chosen.unsqueeze(1)).squeeze(1)


def permitted(logits: Tensor, rows: Sequence[Text], place: int, rules: Rules) -> Tensor:
    """Scores without what must not come at this `place` of the texts."""
    if rules.banned:
        logits = logits.clone()
        logits[:, list(rules.banned)] = -torch.inf
    logits = filtered(logits, rules.sampling, [[*text.prompt.ids, *text.ids] for text in rows])
    forms = [text.prompt.form for text in rows]
    if any(form is not None for form in forms):
        parts = zip(forms, logits.split(1), strict=True)
        logits = torch.cat([row if form is None else form.mask(place, row) for form, row in parts])
    return logits


def _append(text: Text, token: int, log_probability: float, rules: Rules) -> None:
    text.log_probability += log_probability
    if token == rules.end:
        text.ended = True
        return
    text.ids.append(token)
    text.ended = rules.stops(text.ids)
