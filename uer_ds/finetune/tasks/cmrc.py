"""Extractive question answering: where in the context the answer stands. JSON files as those of CMRC 2018 and SQuAD.

One character is one token, so places in the text are places in the row. Contexts that are longer than a row are read in
overlapping windows, and the surest window answers. Chosen by the mean of F1 and EM.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from uer_ds.config.model import ModelConfig
from uer_ds.errors import UserError
from uer_ds.finetune.encode import Encoder, Ids
from uer_ds.finetune.examples import Example, Values
from uer_ds.finetune.heads import Head, SpanHead
from uer_ds.finetune.reading_scores import exact_match, overlap_f1
from uer_ds.finetune.task import Classes, Output, Pair, Reading, Scores, Task, Wanted
from uer_ds.storage.files import read_json_object

SHORTEST_WINDOW = 16
"""Characters of context that a row holds at least; a longer question is cut."""

NOWHERE = "questions were left out: none of their answers stands in the context"
NOT_FINDABLE = "questions cannot be answered rightly: none of their answers stands in the context"


@dataclass(frozen=True)
class Window:
    """One part of a context: `first` is the place of its first character in the row, `begin` in the context."""

    question: str
    context: str
    answers: tuple[tuple[str, int], ...]
    begin: int
    length: int
    first: int


def read(path: Path, reading: Reading) -> Iterator[Example]:
    """One example a window. Training leaves out questions whose answers do not stand in the context."""
    encoder = reading.encoder
    for number, article in enumerate(_list(read_json_object(path), "data", f"{path}")):
        where = f"{path}: data[{number}]"
        for paragraph in _list(article, "paragraphs", where):
            context = _text(paragraph, "context", where)
            ids = character_ids(encoder, context)
            for asked in _list(paragraph, "qas", where):
                answers = _answers(asked, context, reading) if reading.gold else ()
                if reading.part != "train" or any(place >= 0 for _, place in answers):
                    question = character_ids(encoder, _text(asked, "question", where))
                    identity = str(asked.get("id", ""))
                    yield from windows(encoder, identity, question, context, ids, answers, reading)


def _list(value: Any, key: str, where: str) -> list[Any]:
    if not isinstance(value, dict) or not isinstance(value.get(key), list):
        raise UserError(f"{where}: has no list {key!r}; expected data > paragraphs > context and qas, as in CMRC 2018.")
    found: list[Any] = value[key]
    return found


def _text(value: dict[str, Any], key: str, where: str) -> str:
    if not isinstance(value.get(key), str):
        raise UserError(f"{where}: has no text {key!r}; expected data > paragraphs > context and qas, as in CMRC 2018.")
    found: str = value[key]
    return found


def _answers(asked: dict[str, Any], context: str, reading: Reading) -> tuple[tuple[str, int], ...]:
    """(text, place) of the answers, those that stand in the context first; the place of the others is -1."""
    given = [(str(answer.get("text", "")), answer.get("answer_start")) for answer in asked.get("answers") or []]
    found = [(text, nearest_place(text, context, start)) for text, start in given if text]
    if not any(place >= 0 for _, place in found):
        reading.noticed[NOWHERE if reading.part == "train" else NOT_FINDABLE] += 1
    elif any(place not in (-1, start) for (_, place), (_, start) in zip(found, given, strict=False)):
        reading.noticed["questions have an answer that does not begin at answer_start: the nearest place counts"] += 1
    return tuple(sorted(found, key=lambda answer: answer[1] < 0))


def nearest_place(text: str, context: str, start: Any) -> int:
    """Where `text` stands in the context, as near as possible to `start`; -1: nowhere."""
    wanted = start if isinstance(start, int) else 0
    before = context.rfind(text, 0, max(0, wanted) + len(text))
    behind = context.find(text, max(0, wanted))
    if before < 0 or behind < 0:
        return max(before, behind)
    return before if wanted - before <= behind - wanted else behind


def character_ids(encoder: Encoder, text: str) -> Ids:
    """One id for every character, blanks too, int32 [len(text)]."""
    unknown = encoder.special("unk")
    distinct = sorted(set(text))
    found = {c: int(ids[0]) if len(ids) else unknown for c, ids in zip(distinct, encoder.ids(distinct), strict=True)}
    return np.fromiter((found[c] for c in text), dtype=np.int32, count=len(text))


def windows(
    encoder: Encoder,
    identity: str,
    question: Ids,
    context: str,
    ids: Ids,
    answers: tuple[tuple[str, int], ...],
    reading: Reading,
) -> Iterator[Example]:
    """[CLS] question [SEP] window [SEP], until the end of the context is covered."""
    longest_question = encoder.seq_length - 3 - min(SHORTEST_WINDOW, encoder.seq_length // 2)
    encoder.cut += len(question) > longest_question
    question = question[:longest_question]
    size = encoder.seq_length - len(question) - 3
    cls, sep = encoder.special("cls"), encoder.special("sep")
    begin = 0
    while True:
        part = ids[begin : begin + size]
        row = encoder.row([cls], question, [sep], second=np.append(part, np.int32(sep)))
        window = Window(identity, context, answers, begin, len(part), len(question) + 2)
        yield Example((row,), (answers or (("", -1),))[0] if reading.gold else None, window)
        if begin + size >= len(ids):
            return
        begin += min(size, reading.options.doc_stride)


def values(example: Example, labels: Classes, options: Any) -> Values:
    """`start` and `end` in the row: the first answer cut to the window, or 0 and 0 where it lies outside."""
    text, place = example.gold
    if place < 0:
        return {"start": 0, "end": 0}
    window: Window = example.source
    start = max(place, window.begin) - window.begin
    end = min(place + len(text), window.begin + window.length) - 1 - window.begin
    inside = start <= end and start < window.length and end >= 0
    return {"start": window.first + start, "end": window.first + end} if inside else {"start": 0, "end": 0}


def head(config: ModelConfig, labels: Classes, options: Any) -> Head:
    """Two scores for every token."""
    assert config.hidden_size is not None
    return SpanHead(config.hidden_size)


def best_span(output: Output, window: Window) -> tuple[float, str]:
    """The surest answer of a window: the likeliest start in it, the likeliest end from there on.

    `output` [tokens, 2] are probabilities; the score is their sum.
    """
    inside = output[window.first : window.first + window.length]
    if not len(inside):
        return 0.0, ""
    start = int(inside[:, 0].argmax())
    end = start + int(inside[start:, 1].argmax())
    text = window.context[window.begin + start : window.begin + end + 1]
    return float(inside[start, 0] + inside[end, 1]), text


def answers_of(pairs: Iterable[Pair]) -> Iterator[tuple[Window, str]]:
    """A window of each question, and the question's answer; windows of a question stand together."""
    for _, rows in groupby(pairs, key=lambda pair: pair[0].source.question):
        found = [(best_span(output, example.source), example.source) for example, output in rows]
        yield found[0][1], max(found, key=lambda item: item[0][0])[0][1]


def score(examples: Sequence[Example], outputs: Sequence[Output], labels: Classes, options: Any) -> Scores:
    """F1 and EM in percent over questions, the best of their answers each; their mean.

    Questions without any answer are skipped.
    """
    f1, em, skipped = [], [], 0
    for window, found in answers_of(zip(examples, outputs, strict=True)):
        texts = [text for text, _ in window.answers]
        if not texts:
            skipped += 1
            continue
        f1.append(max(overlap_f1(found, text) for text in texts))
        em.append(max(exact_match(found, text) for text in texts))
    f1_mean, em_mean = (100.0 * sum(scores) / max(1, len(scores)) for scores in (f1, em))
    average = (f1_mean + em_mean) / 2
    line = f"Avg: {average:.4f}, F1: {f1_mean:.4f}, EM: {em_mean:.4f}, Total: {len(f1)}, Skip: {skipped}"
    return Scores({"average": average, "f1": f1_mean, "em": em_mean}, (line,))


def records(pairs: Iterable[Pair], labels: Classes, wanted: Wanted) -> Iterator[tuple[Any, ...]]:
    """Question and answer."""
    for window, text in answers_of(pairs):
        yield window.question, text


def document(records: Iterable[tuple[Any, ...]]) -> Any:
    """Question -> answer."""
    return dict(records)


TASK = Task(
    name="cmrc",
    summary="find answers in a context",
    read=read,
    values=values,
    head=head,
    score=score,
    metric="average",
    columns=lambda wanted: ("id", "answer"),
    records=records,
    document=document,
    known_labels=lambda options, tokenizer: Classes(),
    tokenizer="char",
    exported=lambda options: True,
)
