"""Beam search: several candidates for each prompt, of which the likeliest whole text is taken.

B prompts, W beams of each, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from uer_ds.engine.partitioned import wished_by_all
from uer_ds.generate.writing import Prompt, Reader, Rules, Text, permitted
from uer_ds.models.model import Model


@torch.no_grad()
def search(model: Model, prompts: Sequence[Prompt], rules: Rules) -> list[Text]:
    """The best text for each prompt: the highest sum of log probabilities / length ** length_penalty.

    A prompt is done when it has W whole texts and no beam can still beat the worst of them.
    """
    width, together = rules.sampling.beam_size, any(hasattr(p, "ds_id") for p in model.parameters())
    done: list[list[Text]] = [[] for _ in prompts]
    reader = Reader(model, prompts, rules.longest)
    reader.select(torch.arange(len(prompts), device=reader.device).repeat_interleave(width))
    beams = [Text(prompt) for prompt in prompts for _ in range(width)]
    scores = torch.full((len(prompts), width), -torch.inf, dtype=torch.float64)
    scores[:, 0] = 0.0  # all beams of a prompt are the same yet
    for place in range(rules.longest):
        steps = permitted(reader.logits, beams, place, rules).log_softmax(-1).double().cpu()
        totals = (scores.view(-1, 1) + steps).view(len(prompts), -1)  # [B, W * V]
        best, where = totals.topk(min(2 * width, totals.size(1)), dim=-1)
        parents, tokens = where // steps.size(1), where % steps.size(1)
        beams, scores, rows = _advance(beams, (best, parents, tokens), width, done, rules)
        over = torch.tensor(all(map(_is_over, done, scores.tolist(), [rules] * len(done))), device=reader.device)
        if place + 1 == rules.longest or (wished_by_all(over) if together else bool(over)):
            break
        reader.select(torch.tensor(rows, device=reader.device))
        reader.read(torch.tensor([beam.ids[-1] for beam in beams], device=reader.device))
    for number, found in enumerate(done):
        found += beams[number * width : (number + 1) * width] if not found else []
    return [max(found, key=lambda text: _value(text, rules)) for found in done]


def _advance(
    beams: list[Text], best: tuple[Tensor, Tensor, Tensor], width: int, done: list[list[Text]], rules: Rules
) -> tuple[list[Text], Tensor, list[int]]:
    """The next beams, their scores [B, W], and the rows that they come from; whole texts go to `done`."""
    following, rows = list[Text](), list[int]()
    scores = torch.full((len(done), width), -torch.inf, dtype=torch.float64)
    for number, candidates in enumerate(zip(*(part.tolist() for part in best), strict=True)):
        kept = 0
        for score, parent, token in zip(*candidates, strict=True):
            row = number * width + parent
            text = Text(beams[row].prompt, [*beams[row].ids, token], score)
            text.ended = token == rules.end or rules.stops(text.ids)
            if token == rules.end:
                text.ids.pop()
            if text.is_done:
                if score > -torch.inf:
                    done[number] = sorted([*done[number], text], key=lambda t: -_value(t, rules))[:width]
            elif kept < width:
                following.append(text)
                rows.append(row)
                scores[number, kept] = score
                kept += 1
        while kept < width:  # so few tokens are allowed: the rest are impossible
            following.append(Text(beams[number * width].prompt, [*beams[number * width].ids, 0], -torch.inf))
            rows.append(number * width)
            kept += 1
    return following, scores, rows


def _value(text: Text, rules: Rules) -> float:
    length = len(text.ids) + int(text.ended)
    return text.log_probability / max(1, length) ** rules.sampling.length_penalty


def _is_over(done: list[Text], scores: list[float], rules: Rules) -> bool:
    """A beam's score only falls; over so many tokens as may come it weighs least."""
    if len(done) < rules.sampling.beam_size:
        return max(scores) == -torch.inf
    penalty = rules.sampling.length_penalty
    possible = max(scores) / (rules.longest if penalty > 0 else 1) ** penalty
    return possible <= min(_value(text, rules) for text in done)
