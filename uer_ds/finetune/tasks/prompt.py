"""Classification by a cloze: the text stands in a template, and the mlm head says which answer word fits the blank.

Columns: label, text_a, optional text_b. A prompt is a template with [TEXT_A], [TEXT_B] and [ANS], and an answer word
(one token) for every label. Unlike UER-py the mlm head's weights are loaded, and only answer words compete.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from uer_ds.config.model import ModelConfig
from uer_ds.errors import UserError, unknown_name
from uer_ds.finetune.encode import Encoded, Encoder, Ids
from uer_ds.finetune.examples import Example, Values
from uer_ds.finetune.heads import AnswerWordHead, Head
from uer_ds.finetune.rows import Row
from uer_ds.finetune.task import Classes, Reading
from uer_ds.finetune.tasks import classifier
from uer_ds.finetune.tasks.texts import read_texts
from uer_ds.storage.files import read_json_object
from uer_ds.tokenizers import Tokenizer

PROMPTS: dict[str, dict[str, Any]] = {
    "chnsenticorp_char": {"template": "[TEXT_A],我[ANS]满意", "answer_words": {"0": "不", "1": "很"}},
    "chnsenticorp_word": {"template": "[TEXT_A],我[ANS]", "answer_words": {"0": "不满意", "1": "很满意"}},
}
"""Those of UER-py's models/prompts.json."""

PLACES = re.compile(r"(\[TEXT_A\]|\[TEXT_B\]|\[ANS\])")


@dataclass(frozen=True)
class Prompt:
    """`parts` of the template in order (texts and places), `words` by label."""

    parts: tuple[str, ...]
    words: dict[str, str]


def find_prompt(options: Any) -> Prompt:
    """The prompt that the options name. Raises UserError for an unknown name or a template without a blank."""
    prompts = read_json_object(options.prompt_path) if options.prompt_path else PROMPTS
    if options.prompt_id not in prompts:
        raise unknown_name("prompt", options.prompt_id, prompts, options.prompt_path or "--prompt_id")
    values = prompts[options.prompt_id]
    parts = tuple(part for part in PLACES.split(values["template"]) if part)
    if parts.count("[ANS]") != 1 or "[TEXT_A]" not in parts:
        raise UserError(
            f"prompt {options.prompt_id}: the template is {values['template']!r}; expected one [ANS] and a [TEXT_A]."
        )
    return Prompt(parts, dict(values["answer_words"]))


def known_labels(options: Any, tokenizer: Tokenizer) -> Classes:
    """The prompt's labels in the order of their answer words' ids."""
    words = {label: tokenizer.encode(word).tolist() for label, word in find_prompt(options).words.items()}
    for label, ids in words.items():
        if len(ids) != 1 or ids[0] == tokenizer.special.unk:
            raise UserError(
                f"prompt {options.prompt_id}: the answer word of label {label} is {len(ids)} tokens in "
                f"{tokenizer.vocabulary.source}; expected one that the vocabulary has."
            )
    names = sorted(words, key=lambda label: words[label][0])
    origin = f"the prompt {options.prompt_id}"
    return Classes(tuple(names), tuple(words[name][0] for name in names), int(tokenizer.special.mask or 0), origin)


def read(path: Path, reading: Reading) -> Iterator[Example]:
    """One filled-in template a row."""
    prompt = find_prompt(reading.options)

    def encode(encoder: Encoder, rows: Sequence[Row], pairs: bool) -> list[tuple[Encoded, ...]]:
        firsts = encoder.ids([row.text("text_a") for row in rows])
        seconds = encoder.ids([row.text("text_b") for row in rows]) if pairs else [None] * len(rows)
        return [(fill(encoder, prompt, a, b),) for a, b in zip(firsts, seconds, strict=True)]

    return read_texts(path, reading, encode)


def fill(encoder: Encoder, prompt: Prompt, a: Ids, b: Ids | None) -> Encoded:
    """[CLS] template [SEP], all segment 1; texts are cut, never the template. A first text of a pair ends in [SEP]."""
    cls, sep, mask = (encoder.special(role) for role in ("cls", "sep", "mask"))
    fixed = dict(zip(prompt.parts, encoder.ids(prompt.parts), strict=True))
    around = 3 + (b is not None) + sum(len(ids) for part, ids in fixed.items() if not PLACES.match(part))
    room = encoder.seq_length - around
    if room < 1:
        raise UserError(f"--seq_length is {encoder.seq_length}; the template alone needs {around}, give more.")
    encoder.cut += len(a) + (0 if b is None else len(b)) > room
    a = a[:room]
    places: dict[str, Any] = {"[ANS]": [mask], "[TEXT_A]": a, "[TEXT_B]": []}
    if b is not None:
        places.update({"[TEXT_A]": np.append(a, np.int32(sep)), "[TEXT_B]": b[: room - len(a)]})
    return encoder.row([cls], *(places[part] if part in places else fixed[part] for part in prompt.parts), [sep])


def values(example: Example, labels: Classes, options: Any) -> Values:
    """`cls`."""
    return {"cls": classifier.class_number(example, labels)}


def head(config: ModelConfig, labels: Classes, options: Any) -> Head:
    """Scores of the answer words at the blank."""
    assert labels.mask is not None
    return AnswerWordHead(labels.mask, labels.tokens)


TASK = replace(
    classifier.TASK,
    name="prompt",
    summary="classify by filling a blank",
    read=read,
    known_labels=known_labels,
    values=values,
    head=head,
    target=("mlm",),
    numbered=False,
    exported=lambda options: False,
)
