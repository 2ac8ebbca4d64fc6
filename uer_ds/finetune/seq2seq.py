"""Text to text: a model with a decoder learns targets, and answers with the likeliest token each time.

B rows, S source tokens, T target tokens, U longest target.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from uer_ds.data.batch import IGNORE, Batch, Terms
from uer_ds.engine.partitioned import wished_by_all
from uer_ds.finetune.examples import Example, pad_rows
from uer_ds.finetune.heads import Head
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


@torch.no_grad()
def greedy(body: Model, batch: Batch, start: int, end: int, longest: int) -> Tensor:
    """The likeliest token at each of at most `longest` places, [B, longest]; after `end` a row repeats it.

    It stops when all rows have ended; where the weights are partitioned, when those of all ranks have, since each step
    gathers from all of them.
    """
    rows = len(batch.ids)
    memory = body.encode(batch)
    partitioned = any(hasattr(parameter, "ds_id") for parameter in body.parameters())
    found = torch.full((rows, 1), start, dtype=torch.int64, device=batch.ids.device)
    ended = torch.zeros(rows, dtype=torch.bool, device=batch.ids.device)
    for _ in range(longest):
        decoder = Batch(found, torch.ones_like(found))
        hidden = body.decode(Batch(batch.ids, batch.segments, documents=batch.documents, decoder=decoder), memory)
        logits = body.target["lm"].logits(hidden[:, -1:], decoder.segments)  # type: ignore[operator]
        best = torch.where(ended, end, logits[:, 0].argmax(-1))
        ended |= best == end
        found = torch.cat([found, best[:, None]], dim=1)
        if wished_by_all(ended.all()) if partitioned else ended.all():
            break
    return F.pad(found[:, 1:], (0, longest + 1 - found.size(1)), value=end)


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
