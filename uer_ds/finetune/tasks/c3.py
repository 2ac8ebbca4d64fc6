"""Multiple choice about a dialogue or a text. JSON files as those of C3 (Sun et al. 2020).

A file is a list of [lines of the document, questions, id]. Every choice is a row: [CLS] choice [SEP] question [SEP]
document [SEP], all lower-cased; missing choices are `No Answer`. Chosen by accuracy.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from uer_ds.config.model import ModelConfig
from uer_ds.errors import UserError
from uer_ds.finetune.encode import Encoder
from uer_ds.finetune.examples import Example, Values
from uer_ds.finetune.heads import ChoiceHead, Head
from uer_ds.finetune.metrics import classification_scores
from uer_ds.finetune.task import Classes, Output, Pair, Reading, Scores, Task, Wanted

NO_CHOICE = "No Answer"


def read(path: Path, reading: Reading) -> Iterator[Example]:
    """One example a question."""
    for number, entry in enumerate(_entries(path)):
        try:
            lines, questions = entry[0], entry[1]
            document = "\n".join(lines).lower()
            for asked in questions:
                example = _example(reading, document, asked)
                if reading.gold and example.gold is None:
                    reading.noticed["questions were left out: their answer is none of the choices"] += 1
                else:
                    yield example
        except (TypeError, KeyError, IndexError, AttributeError) as error:
            raise UserError(
                f"{path}: entry {number} is not of C3's form ({type(error).__name__}: {error}); expected [lines of the "
                "document, [{question, choice, answer}], id]."
            ) from error


def _entries(path: Path) -> list[Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from error
    except ValueError as error:
        raise UserError(f"{path}: is no UTF-8 JSON ({error}).") from error
    if not isinstance(found, list):
        raise UserError(f"{path}: holds a JSON {type(found).__name__}; expected a list of entries, as in C3.")
    return found


def _example(reading: Reading, document: str, asked: dict[str, Any]) -> Example:
    most = reading.options.max_choices_num
    choices = [choice.lower() for choice in asked["choice"]]
    if len(choices) > most:
        raise UserError(f"a question has {len(choices)} choices, but --max_choices_num is {most}; raise it.")
    gold = None
    if reading.gold:
        answer = asked["answer"].lower()
        gold = choices.index(answer) if answer in choices else None
    texts = choices + [NO_CHOICE.lower()] * (most - len(choices))
    rows = choice_rows(reading.encoder, texts, asked["question"].lower(), document)
    return Example(tuple(rows), gold, (asked.get("id", ""), len(choices)))


def choice_rows(encoder: Encoder, choices: Sequence[str], question: str, document: str) -> Iterator[Any]:
    """[CLS] choice [SEP] question [SEP] document [SEP]; the document is segment 2."""
    cls, sep = encoder.special("cls"), encoder.special("sep")
    asked, text, *encoded = encoder.ids([question, document, *choices])
    for choice in encoded:
        yield encoder.row([cls], choice, [sep], asked, [sep], second=np.append(text, np.int32(sep)))


def values(example: Example, labels: Classes, options: Any) -> Values:
    """`cls`: the number of the right choice."""
    return {"cls": example.gold}


def head(config: ModelConfig, labels: Classes, options: Any) -> Head:
    """One score for each choice."""
    assert config.hidden_size is not None
    return ChoiceHead(config.hidden_size, options.max_choices_num, config.dropout)


def chosen(example: Example, output: Output) -> int:
    """The likeliest of the choices that there are."""
    return int(output[: example.source[1]].argmax())


def score(examples: Sequence[Example], outputs: Sequence[Output], labels: Classes, options: Any) -> Scores:
    """As a classification by the number of the choice."""
    found = [chosen(example, output) for example, output in zip(examples, outputs, strict=True)]
    return classification_scores(found, [e.gold for e in examples], list(map(str, range(options.max_choices_num))))


def records(pairs: Iterable[Pair], labels: Classes, wanted: Wanted) -> Iterator[tuple[Any, ...]]:
    """The question's id and the number of the choice."""
    for example, output in pairs:
        yield example.source[0], chosen(example, output)


TASK = Task(
    name="c3",
    summary="choose among answers about a text",
    read=read,
    values=values,
    head=head,
    score=score,
    metric="accuracy",
    columns=lambda wanted: ("id", "label"),
    records=records,
    known_labels=lambda options, tokenizer: Classes(),
    json_lines=True,
)
