"""Classification for several sets of data at once: one encoder, classes and layers of their own for each set.

--dataset_path_list names folders, each with a train and a dev file as the classifier reads them. Batches mix the sets,
so every example weighs the same (UER-py draws batches of one set). Chosen by the mean of the sets' accuracies.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

from uer_ds.config.finetune import FinetunePaths
from uer_ds.config.model import ModelConfig
from uer_ds.errors import UserError
from uer_ds.finetune.examples import Example, Values
from uer_ds.finetune.heads import Head, MultiHead
from uer_ds.finetune.metrics import classification_scores
from uer_ds.finetune.task import Classes, Output, Pair, Reading, Scores, Wanted
from uer_ds.finetune.tasks import classifier
from uer_ds.finetune.tasks.texts import read_texts
from uer_ds.tokenizers import Tokenizer

SUFFIXES = (".tsv", ".jsonl", ".parquet")


def sources(paths: FinetunePaths, options: Any, part: str) -> list[Path]:
    """The file of `part` in each folder. Raises UserError for a folder without one and for options of other tasks."""
    for name in ("train_path", "dev_path", "test_path"):
        if getattr(paths, name) is not None:
            raise UserError(f"--{name} is not for classifier_mt, which reads --dataset_path_list; leave it out.")
    if not options.dataset_path_list:
        raise UserError("--dataset_path_list is missing; name folders with a train and a dev file each.")
    return [_file(Path(folder), part) for folder in options.dataset_path_list]


def _file(folder: Path, part: str) -> Path:
    files = [folder / f"{part}{suffix}" for suffix in SUFFIXES]
    found = next((file for file in files if file.is_file()), None)
    if found is None:
        raise UserError(f"{folder}: has none of {', '.join(file.name for file in files)}; give one of them.")
    return found


def dataset_names(options: Any) -> list[str]:
    """What the sets are called: their folders' names, or where these are not enough the paths as given."""
    paths: tuple[str, ...] = options.dataset_path_list
    names = [Path(path).resolve().name for path in paths]
    if len(set(paths)) < len(paths):
        raise UserError(f"--dataset_path_list is {' '.join(paths)}; expected every folder once.")
    return names if len(set(names)) == len(names) else list(paths)


def read(path: Path, reading: Reading) -> Iterator[Example]:
    """Texts and pairs with their labels; `source` is the number of the set."""
    for example in read_texts(path, reading):
        yield replace(example, source=reading.source)


def find_labels(examples: Sequence[Example], options: Any, by_name: bool) -> Classes:
    """The classes of every set's training data."""
    found = {}
    for number, dataset in enumerate(dataset_names(options)):
        found[dataset] = classifier.find_labels([e for e in examples if e.source == number], options, by_name).names
    return labels_of(found)


def labels_of(datasets: Mapping[str, Sequence[str]]) -> Classes:
    """All classes of all sets, called `set/label`."""
    names = tuple(f"{dataset}/{name}" for dataset, labels in datasets.items() for name in labels)
    return Classes(names, parts=tuple((dataset, len(labels)) for dataset, labels in datasets.items()))


def known_labels(options: Any, tokenizer: Tokenizer) -> Classes | None:
    """Where no data tells them: 0, 1, ... of the sets 1, 2, ..., as many as --labels_num_list says."""
    if options.dataset_path_list:
        return None
    if not options.labels_num_list:
        raise UserError("--labels_num_list is missing; give the number of classes of each dataset, in order.")
    return labels_of({str(n): [*map(str, range(size))] for n, size in enumerate(options.labels_num_list, 1)})


def values(example: Example, labels: Classes, options: Any) -> Values:
    """`cls`, counted through the classes of all sets."""
    dataset, _ = labels.parts[example.source]
    gold = replace(example.gold, label=f"{dataset}/{example.gold.label}")
    return {"cls": classifier.class_number(replace(example, gold=gold), labels)}


def head(config: ModelConfig, labels: Classes, options: Any) -> Head:
    """K scores for each set from the pooled vector."""
    sizes = tuple(size for _, size in labels.parts)
    if options.labels_num_list and options.labels_num_list != sizes:
        given, found = (" ".join(map(str, numbers)) for numbers in (options.labels_num_list, sizes))
        raise UserError(f"--labels_num_list is {given}, but the datasets have {found} classes; leave it out.")
    assert config.hidden_size is not None
    return MultiHead(config.hidden_size, sizes, config.pooling)


@dataclass(frozen=True)
class Part:
    """One set: its name, its labels as its files spell them, the number of its first class among all."""

    dataset: str
    names: tuple[str, ...]
    begin: int

    def of(self, output: Output) -> Output:
        """The scores of this set's classes."""
        return output[self.begin : self.begin + len(self.names)]


def parts_of(labels: Classes) -> list[Part]:
    """The sets in their order."""
    begins = accumulate((size for _, size in labels.parts), initial=0)
    return [
        Part(dataset, tuple(n.removeprefix(f"{dataset}/") for n in labels.names[begin : begin + size]), begin)
        for (dataset, size), begin in zip(labels.parts, begins, strict=False)
    ]


def score(examples: Sequence[Example], outputs: Sequence[Output], labels: Classes, options: Any) -> Scores:
    """The classifier's scores of every set, and their means."""
    found: dict[str, Scores] = {}
    for number, part in enumerate(parts_of(labels)):
        own = [pair for pair in zip(examples, outputs, strict=True) if pair[0].source == number]
        predicted = [int(part.of(output).argmax()) for _, output in own]
        right = [part.names.index(example.gold.label) for example, _ in own]
        found[part.dataset] = classification_scores(predicted, right, part.names)
    return together(found)


def together(found: Mapping[str, Scores]) -> Scores:
    """Means over the sets under the scores' own names, then `name_set` for each set."""
    first = next(iter(found.values())).values
    means = {name: sum(scores.values[name] for scores in found.values()) / len(found) for name in first}
    single = {f"{name}_{dataset}": value for dataset, scores in found.items() for name, value in scores.values.items()}
    lines = tuple(line for dataset, scores in found.items() for line in (f"dataset {dataset}:", *scores.lines))
    return Scores({**means, **single}, lines)


def records(pairs: Iterable[Pair], labels: Classes, wanted: Wanted) -> Iterator[tuple[Any, ...]]:
    """The answer of every set to each row, joined by vertical bars; where asked for, lists of scores for each set."""
    parts = parts_of(labels)
    for _, output in pairs:
        scores = [part.of(output) for part in parts]
        names = "|".join(part.names[int(own.argmax())] for part, own in zip(parts, scores, strict=True))
        more = [[own.tolist() for own in scores]] * wanted.logits
        yield (names, *more, *[[classifier.softmax(own).tolist() for own in scores]] * wanted.prob)


TASK = replace(
    classifier.TASK,
    name="classifier_mt",
    summary="classify texts of several datasets with one encoder",
    sources=sources,
    read=read,
    labels=find_labels,
    known_labels=known_labels,
    values=values,
    head=head,
    score=score,
    records=records,
    exported=lambda options: False,
)
