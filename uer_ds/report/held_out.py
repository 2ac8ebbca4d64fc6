"""Questions for a model from a run's held-out dataset, with the answers that stand there. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from uer_ds.data.dataset import Dataset, open_dataset
from uer_ds.errors import UserError
from uer_ds.report.read import RunLog

TOKENS, BLANKS = 48, 3
"""Of a document so many tokens are shown at most; so many are taken out for a masked language model."""
LOOKED_AT = 20
"""Documents that are looked at for each question: some are too short or do not come back from their text unchanged."""

MASKED = "mlm"


@dataclass(frozen=True)
class Question:
    """A text with blanks, or the beginning of one; `answer`: what was taken out, or how it goes on."""

    asked: str
    answer: str


def questions(run: RunLog, count: int, target: str) -> list[Question]:
    """`count` of them, spread evenly over the dataset; `target` (mlm, lm) says of which kind.

    Raises UserError for a run without held-out data, or with too little of it.
    """
    path = run.configuration.get("data.eval_dataset_path")
    if path is None:
        raise UserError(f"{run.name}: has no held-out data (--eval_dataset_path); give texts by --sample_path.")
    dataset = open_dataset(path)
    step = max(1, dataset.documents // (count * LOOKED_AT))
    spread = range(0, dataset.documents, step * LOOKED_AT)
    numbers = [at + step * n for n in range(LOOKED_AT) for at in spread if at + step * n < dataset.documents]
    made = _masked(dataset, numbers) if target == MASKED else _begun(dataset, numbers)
    found = [question for _, question in zip(range(count), made, strict=False)]
    if len(found) < count:
        raise UserError(
            f"{path}: {len(found)} of the documents looked at can be asked about; --samples is {count}: lower it."
        )
    return found


def _masked(dataset: Dataset, numbers: list[int]) -> Iterator[Question]:
    tokenizer = dataset.load_tokenizer()
    tokenizer.require("mask")
    for number in numbers:
        ids = dataset.document(number)[:TOKENS].tolist()
        masked, hidden = list(ids), list[int]()
        for place in (len(ids) * n // (BLANKS + 1) for n in range(1, BLANKS + 1)):
            if place in range(1, len(ids) - 1) and tokenizer.special.mask not in masked[place - 1 : place + 2]:
                masked[place] = tokenizer.special.mask
                hidden.append(ids[place])
        asked = tokenizer.decode(masked)
        if hidden and _ids(tokenizer, asked) == masked:
            yield Question(asked, ", ".join(f"“{tokenizer.tokens[token]}”" for token in hidden))


def _ids(tokenizer: Any, text: str) -> list[int]:
    """Its tokens, where it says [MASK] that token."""
    found = list[int]()
    for number, part in enumerate(text.split(tokenizer.special_tokens.mask)):
        found += [tokenizer.special.mask] * (number > 0) + tokenizer.encode(part).tolist()
    return found


def _begun(dataset: Dataset, numbers: list[int]) -> Iterator[Question]:
    reads, writes = dataset.load_tokenizer(), dataset.load_tokenizer(target=True)
    for number in numbers:
        if dataset.manifest.layout == "pairs":
            begin, rest = (dataset.item(item)[:TOKENS].tolist() for item in dataset.document_items(number))
        else:
            ids = dataset.document(number)[:TOKENS].tolist()
            begin, rest = ids[: len(ids) // 2], ids[len(ids) // 2 :]
        if begin and rest:
            yield Question(reads.decode(begin), writes.decode(rest))
