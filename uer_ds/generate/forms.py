"""Forms: what may stand at each place of a text, as masks over the vocabulary.

A template is a string: `*` stands for one Chinese character, everything else for itself. For vocabularies in which a
Chinese character is a token (BERT's, and the ones `uer-ds vocab` makes).
"""

from __future__ import annotations

import dataclasses
import unicodedata
from collections.abc import Sequence

import torch
from torch import Tensor

from uer_ds.errors import UserError
from uer_ds.tokenizers import Tokenizer

ANY = "*"
LINES = {"wujue": (5, 4), "qijue": (7, 4), "wulv": (5, 8), "qilv": (7, 8)}
"""Form -> characters of a line, lines."""
COUPLET = "couplet"
MARKS = "，。"


@dataclasses.dataclass(frozen=True)
class Form:
    """The masks of a template.

    Attributes:
        places: [P, V] bool, what may stand at each of the P places.
        end: the token that must follow.
    """

    places: Tensor
    end: int

    def mask(self, place: int, logits: Tensor) -> Tensor:
        """`logits` [B, V] with -inf for what must not stand at `place` (from 0); behind the last stands the end."""
        allowed = torch.zeros(logits.size(1), dtype=torch.bool)
        if place < len(self.places):
            allowed = self.places[place]
        else:
            allowed[self.end] = True
        return logits.masked_fill(~allowed.to(logits.device), -torch.inf)

    def __len__(self) -> int:
        """Tokens of a text of this form."""
        return len(self.places)


def template_of(form: str, acrostic: str | None, prompt: str) -> str:
    """The template that `--form` means for this prompt, whose own characters (of a poem's beginning) count.

    Raises UserError where they do not fit.
    """
    if form == COUPLET:
        if acrostic:
            raise UserError("--acrostic is for poems, but --form is couplet; leave one out.")
        clause = "".join(character for character in _last_clause(prompt) if _is_han(character))
        if not clause:
            raise UserError(f"--form couplet: the prompt {prompt!r} has no Chinese characters to answer.")
        return ANY * len(clause) + MARKS[1]
    template = _verse(*LINES[form]) if form in LINES else form
    if acrostic:
        template = _with_acrostic(template, acrostic)
    return _behind(template, prompt) if form in LINES else template


def build_form(template: str, tokenizer: Tokenizer, end: int) -> Form:
    """Raises UserError for characters that the vocabulary does not have."""
    han = torch.tensor([len(token) == 1 and _is_han(token) for token in tokenizer.tokens])
    if ANY in template and not han.any():
        raise UserError(f"{tokenizer.vocabulary.source}: no Chinese character is a token of its own, as --form needs.")
    places = torch.zeros(len(template), len(han), dtype=torch.bool)
    for place, character in enumerate(template):
        if character == ANY:
            places[place] = han
        elif character in tokenizer.vocabulary.ids:
            places[place, tokenizer.vocabulary.ids[character]] = True
        else:
            raise UserError(f"{tokenizer.vocabulary.source}: {character!r} of the form is not in the vocabulary.")
    return Form(places, end)


def _verse(width: int, lines: int) -> str:
    return "".join(ANY * width + MARKS[line % 2] for line in range(lines))


def _with_acrostic(template: str, acrostic: str) -> str:
    """Lines begin behind every mark."""
    starts = [at for at, character in enumerate(template) if character == ANY and (at == 0 or template[at - 1] != ANY)]
    if len(acrostic) > len(starts):
        raise UserError(f"--acrostic {acrostic} has {len(acrostic)} characters, but the form has {len(starts)} lines.")
    characters = list(template)
    for at, character in zip(starts, acrostic, strict=False):
        characters[at] = character
    return "".join(characters)


def _behind(template: str, prompt: str) -> str:
    """What is left of a verse when the prompt is its beginning."""
    beginning = prompt.rsplit("\n", 1)[-1].strip()
    if len(beginning) >= len(template):
        raise UserError(f"the prompt {prompt!r} is as long as the form, {len(template)} characters; shorten it.")
    for at, character in enumerate(beginning):
        wanted = template[at]
        if character != wanted and not (wanted == ANY and _is_han(character)):
            raise UserError(f"the prompt {prompt!r} does not begin a text of this form: character {at + 1} is wrong.")
    return template[len(beginning) :]


def _last_clause(prompt: str) -> str:
    """What stands behind the last mark that Chinese characters follow; the whole where there is none."""
    clauses = [""]
    for character in prompt:
        if unicodedata.category(character).startswith("P"):
            clauses.append("")
        else:
            clauses[-1] += character
    return next((clause for clause in reversed(clauses) if any(map(_is_han, clause))), "")


def _is_han(character: str) -> bool:
    return unicodedata.name(character, "").startswith("CJK UNIFIED IDEOGRAPH")


def forms_of(
    form: str | None, acrostic: str | None, prompts: Sequence[str], tokenizer: Tokenizer, end: int | None
) -> list[Form] | None:
    """One form for each prompt; None: there is none."""
    if form is None:
        return None
    if end is None:
        raise UserError("--form ends a text with [SEP], which this vocabulary does not have.")
    return [build_form(template_of(form, acrostic, prompt), tokenizer, end) for prompt in prompts]
