"""`Task`: a value that says everything about one kind of fine-tuning; a file under `tasks/` makes it.

Training, prediction and the command line read these values; none of them knows a task by name. To add a task: a file
with its `Task`, its options in `uer_ds.config.finetune`, its line in `uer_ds.registry.TASKS`, a door in `finetune/`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uer_ds.config.finetune import FinetunePaths
from uer_ds.config.model import ModelConfig
from uer_ds.data.batch import Batch
from uer_ds.errors import UserError
from uer_ds.finetune.encode import Encoder
from uer_ds.finetune.examples import Example, Values, flat
from uer_ds.finetune.heads import Head
from uer_ds.tokenizers import Tokenizer

Output = NDArray[np.float32]
"""What the head says about one example, for instance logits [K]."""


Pair = tuple[Example, Output]


@dataclass(frozen=True)
class Classes:
    """The classes of a task in the order of their numbers.

    `tokens` and `mask` are the ids of the answer words and of [MASK], where a class is said by a word. `parts` are
    (name, number of classes) of groups, where each example belongs to one. `origin` says, for errors, who decides which
    classes there are.
    """

    names: tuple[str, ...] = ()
    tokens: tuple[int, ...] = ()
    mask: int | None = None
    origin: str = field(default="the training data", compare=False)
    parts: tuple[tuple[str, int], ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    def number(self, name: str) -> int:
        """The number of a class. Raises UserError for one that is not among them."""
        try:
            return self.names.index(name)
        except ValueError:
            known = ", ".join(self.names[:10]) + (", ..." if len(self.names) > 10 else "")
            raise UserError(f"label {name!r} does not occur in {self.origin}, which has {known}.") from None


@dataclass(frozen=True)
class Reading:
    """What a task's reader gets: the encoder, the task's own options, and whether right answers are wanted.

    `part` tells which file is read: train, dev, test, or predict; `source` is its number where a part has several. To
    predict, every row gets an answer; from the others a reader leaves out what teaches nothing and counts in `noticed`
    what it left out or cut, by a sentence.
    """

    encoder: Encoder
    options: Any
    gold: bool = True
    part: str = "train"
    source: int = 0
    noticed: Counter[str] = field(default_factory=Counter)

    @property
    def every_row(self) -> bool:
        """Whether each row is answered, also an empty one."""
        return self.part == "predict"


@dataclass(frozen=True)
class Wanted:
    """What a prediction file holds besides the answers; `tokenizer` makes texts of answers that are ids."""

    logits: bool = False
    prob: bool = False
    tokenizer: Tokenizer | None = None


@dataclass(frozen=True)
class Scores:
    """An evaluation: numbers by name, and the lines that people read."""

    values: Mapping[str, float]
    lines: tuple[str, ...] = ()


def given_file(paths: FinetunePaths, options: Any, part: str) -> list[Path]:
    """The file that `--train_path`, `--dev_path` or `--test_path` names."""
    path: str | None = getattr(paths, f"{part}_path")
    if path is None:
        raise UserError(f"--{part}_path is missing; name the file.")
    return [Path(path)]


def _unknown(options: Any, tokenizer: Tokenizer) -> Classes | None:
    return None


def _no_labels(examples: Sequence[Example], options: Any, by_name: bool) -> Classes:
    return Classes()


@dataclass(frozen=True)
class Task:
    """One kind of fine-tuning.

    Attributes:
        name: what users write; `summary`: one line for `--help`.
        read: a data file as examples, streamed.
        labels: the classes, from the training examples, the task's options and whether labels are names.
        known_labels: the classes where options and tokenizer alone tell them, else None.
        values: gold answer of an example -> labels by name, as the head wants them.
        head: (model configuration, labels, options) -> the head (see `heads.Head`).
        score: (examples, outputs, labels, options) -> scores; outputs are in the order of the examples.
        metric: the score that chooses the best epoch; higher is better.
        columns: names of the columns of a prediction file, given what is wanted besides the answer.
        records: (pairs of example and output, labels, wanted) -> the columns of each answer: texts, numbers, or lists
            of them. It streams: a file's pairs come one by one.
        document: records -> the one JSON value that UER-py writes for this task; None: there is none.
        json_lines: whether UER-py writes a line of JSON for each answer. Otherwise, and without `document`, it is TSV.
        batch_of: examples -> batch.
        by_token: names of the labels that stand at each token; they are padded like the rows.
        sources: (paths, the task's options, part) -> the files of a part: train, dev or test.
        target: the model's own heads that the task uses ("mlm", "lm"); others are left out.
        tokenizer: the only tokenizer that the task's data fits, or None.
        exported: the task's options -> whether transformers has a model with this head.
        numbered: whether labels in the data are numbers of classes, which --map_labels changes to names.
    """

    name: str
    summary: str
    read: Callable[[Path, Reading], Iterable[Example]]
    values: Callable[[Example, Classes, Any], Values]
    head: Callable[[ModelConfig, Classes, Any], Head]
    score: Callable[[Sequence[Example], Sequence[Output], Classes, Any], Scores]
    metric: str
    columns: Callable[[Wanted], tuple[str, ...]]
    records: Callable[[Iterable[Pair], Classes, Wanted], Iterable[tuple[Any, ...]]]
    labels: Callable[[Sequence[Example], Any, bool], Classes] = _no_labels
    known_labels: Callable[[Any, Tokenizer], Classes | None] = _unknown
    document: Callable[[Iterable[tuple[Any, ...]]], Any] | None = None
    json_lines: bool = False
    batch_of: Callable[[Sequence[Example], int], Batch] = flat
    by_token: tuple[str, ...] = ()
    sources: Callable[[FinetunePaths, Any, str], Sequence[Path]] = given_file
    target: tuple[str, ...] = ()
    tokenizer: str | None = None
    exported: Callable[[Any], bool] = lambda options: False
    numbered: bool = False
