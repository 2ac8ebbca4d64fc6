"""Text to text: a model with a decoder learns targets, and answers with the likeliest token each time.

B rows, S source tokens, T target tokens, U longest target.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from uer_ds.config.generate import DecodingConfig
from uer_ds.data.batch import IGNORE, Batch, Terms
from uer_ds.finetune.examples import Example, pad_rows
from uer_ds.finetune.heads import Head
from uer_ds.generate.writing import Prompt, Rules, write
from uer_ds.models.model import Model


class TextHead(Head):
    """The model's own lm head; no parameters of its own."""

    def __init__(self, start: int, end: int, longest: int):
        super().__init__()
        self.start, self.end, self.longest = start, end, longest

    def learn(self, body: Model, batch: Batch) -> Terms:
        """Cross entropy of every target token, the closing [SEP] included."""
        return body(batch)

    def answer(self, body: Model, batch: Batch) -> Tensor:
        """Greedy answers [B, U]: token ids from the first one on; `end` and what follows it is padding."""
        return greedy(body, batch, self.start, self.end, self.longest)


def greedy(body: Model, batch: Batch, start: int, end: int, longest: int) -> Tensor:
    """The likeliest token at each of at most `longest` places, [B, longest]; after `end` a row repeats it."""
    sources = [ids[real].tolist() for ids, real in zip(batch.ids, batch.segments > 0, strict=True)]
    prompts = [Prompt(number, ids, [start]) for number, ids in enumerate(sources)]
    *_, texts = write(body, prompts, Rules(DecodingConfig(greedy=True), longest, end))
    found = torch.full((len(texts), longest), end, dtype=torch.int64, device=batch.ids.device)
    for row, text in zip(found, texts, strict=True):
        row[: len(text.ids)] = torch.tensor(text.ids, dtype=torch.int64)
    return found


def with_decoder(examples: Sequence[Example], pad: int) -> Batch:
    """Sources, and targets without their last token as the decoder's input, where examples have targets."""
    ids, segments = pad_rows([example.rows[0] for example in examples], pad)
    if len(examples[0].rows) == 1:
        return Batch(ids, segments)
    target_ids, target_segments = pad_rows([example.rows[1] for example in examples], pad)
    return Batch(ids, segments, decoder=Batch(target_ids, target_segments))


def next_tokens(example: Example) -> Tensor:
    """What follows each target token, [T]; nothing follows the last one."""
    ids = torch.as_tensor(example.rows[1].ids, dtype=torch.int64)
    return torch.cat([ids[1:], torch.tensor([IGNORE])])
