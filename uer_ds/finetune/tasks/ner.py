"""Tagging of tokens: named entities.

Columns: text_a (tokens separated by blanks) and label (as many tags). Rows are tokens only, without [CLS] and [SEP].
UER-py's class [PAD] is kept, so its files fit, but it is never a right answer. Chosen by the F1 of whole entities.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from uer_ds.config.model import ModelConfig
from uer_ds.errors import UserError
from uer_ds.finetune.encode import in_blocks
from uer_ds.finetune.examples import Example, Values
from uer_ds.finetune.heads import Head, TokenHead
from uer_ds.finetune.metrics import entity_report
from uer_ds.finetune.rows import Row, read_rows
from uer_ds.finetune.task import Classes, Output, Pair, Reading, Scores, Task, Wanted
from uer_ds.finetune.tasks.texts import wanted_rows
from uer_ds.storage.files import read_json_object
from uer_ds.tokenizers import Tokenizer

PAD_TAG = "[PAD]"
OUTSIDE = "O"


def read(path: Path, reading: Reading) -> Iterator[Example]:
    """One example a row; raises UserError, naming the line, when tokens and tags differ in number."""

    def encode(rows: list[Row]) -> Iterable[Example]:
        texts = [row.text("text_a").split() for row in rows]
        encoded = reading.encoder.ids([" ".join(tokens) for tokens in texts])
        for row, tokens, found in zip(rows, texts, encoded, strict=True):
            ids = found[: len(tokens)]  # of no text the tokenizer makes one unknown token
            tags = row.text("label").split() if reading.gold else None
            if tags is not None and len(tags) != len(ids):
                raise UserError(
                    f"{path}: line {row.number} has {len(ids)} tokens and {len(tags)} tags; expected one tag for "
                    "each token, both separated by blanks."
                )
            yield Example((reading.encoder.row(ids),), (tags, f"{path}: line {row.number}") if tags else None)

    rows = read_rows(path, ["label"] * reading.gold + ["text_a"])
    return in_blocks(wanted_rows(rows, reading), encode)


def known_labels(options: Any, tokenizer: Tokenizer) -> Classes | None:
    """The tags of --label2id_path, and [PAD]."""
    if options.label2id_path is None:
        return None
    ids = read_json_object(options.label2id_path)
    names = tuple(sorted(ids, key=lambda name: ids[name]))
    if [ids[name] for name in names] != list(range(len(names))):
        raise UserError(
            f"{options.label2id_path}: numbers the tags {sorted(ids.values())}; expected 0 to {len(ids) - 1}."
        )
    return Classes(names if PAD_TAG in names else (*names, PAD_TAG), origin=str(options.label2id_path))


def find_labels(examples: Sequence[Example], options: Any, by_name: bool) -> Classes:
    """The tags of the training data in sorted order, and [PAD]."""
    return Classes((*sorted({tag for example in examples for tag in example.gold[0]}), PAD_TAG))


def values(example: Example, labels: Classes, options: Any) -> Values:
    """`tags`, one number for each token; `row` counts rows, by which a random field's loss is divided."""
    tags, where = example.gold
    try:
        found = {"tags": np.array([labels.number(tag) for tag in tags[: len(example)]], dtype=np.int64)}
        return {**found, "row": 0} if options.crf_target else found
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def head(config: ModelConfig, labels: Classes, options: Any) -> Head:
    """K scores for every token, or a conditional random field over them."""
    assert config.hidden_size is not None
    if options.crf_target:
        from uer_ds.finetune.crf import CrfHead

        return CrfHead(config.hidden_size, len(labels), never=[labels.number(PAD_TAG)] * (PAD_TAG in labels.names))
    return TokenHead(config.hidden_size, len(labels), classes="tags")


def tags_of(output: Output, labels: Classes) -> list[str]:
    """Names of the best tags, one for each token; [PAD] is never predicted for a token."""
    allowed = [number for number, name in enumerate(labels.names) if name != PAD_TAG]
    return [labels.names[allowed[best]] for best in output[:, allowed].argmax(-1)]


def entities(tags: Sequence[str]) -> set[tuple[int, int, tuple[str, ...]]]:
    """(begin, end, tags) of the entities: each runs from a tag that starts with B to before the next O or B."""
    found, begin = set(), None
    for place, tag in enumerate([*tags, OUTSIDE]):
        if begin is not None and (tag in (OUTSIDE, PAD_TAG) or tag.startswith("B")):
            found.add((begin, place, tuple(tags[begin:place])))
            begin = None
        if tag.startswith("B"):
            begin = place
    return found


def score(examples: Sequence[Example], outputs: Sequence[Output], labels: Classes, options: Any) -> Scores:
    """Precision, recall and F1 of entities: right are those with the right span and all the right tags.

    The lines have those of each type too, by seqeval's rules, where it is installed.
    """
    predicted = right = correct = 0
    answers = [tags_of(output, labels) for output in outputs]
    golden = [example.gold[0][: len(example)] for example in examples]
    for tags, gold in zip(answers, golden, strict=True):
        found, wanted = entities(tags), entities(gold)
        predicted, right, correct = predicted + len(found), right + len(wanted), correct + len(found & wanted)
    precision, recall = correct / max(1, predicted), correct / max(1, right)
    f1 = 2 * precision * recall / (precision + recall) if correct else 0.0
    lines = (*entity_report(golden, answers), f"{precision:.3f}, {recall:.3f}, {f1:.3f}")
    return Scores({"f1": f1, "precision": precision, "recall": recall}, lines)


def records(pairs: Iterable[Pair], labels: Classes, wanted: Wanted) -> Iterator[tuple[Any, ...]]:
    """The tags of each row."""
    for _, output in pairs:
        yield (tags_of(output, labels),)


TASK = Task(
    name="ner",
    summary="tag tokens: named entities",
    read=read,
    labels=find_labels,
    known_labels=known_labels,
    values=values,
    head=head,
    score=score,
    metric="f1",
    columns=lambda wanted: ("pred_label",),
    records=records,
    by_token=("tags",),
    tokenizer="space",
    exported=lambda options: not options.crf_target,
)
