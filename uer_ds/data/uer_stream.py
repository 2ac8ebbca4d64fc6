"""UER-py's `dataset.pt`: a stream of pickled tuples without header, one a training instance -> the documents behind
them.

Masks are undone (the golden ids are in the file), padding, [CLS] and [SEP] are taken off, pieces of a line are joined
again. The unpickler can build tuples, lists, numbers and strings and nothing else: no code of the file is ever run.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uer_ds.errors import UserError

Ids = list[int]


@dataclass(frozen=True)
class Document:
    """Items of ids, and the label in layouts that have one."""

    items: tuple[Ids, ...]
    label: int = 0


@dataclass(frozen=True)
class Marks:
    """Ids of the special tokens that UER-py has put around texts."""

    cls: int
    sep: int


class Foreign(ValueError):
    """An instance that is not of the expected form."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        raise UserError(
            f"the file wants to build a {module}.{name}; expected UER-py's dataset of tuples, lists, numbers and"
            " strings: it is another kind of file, and may be hostile."
        )


def read_instances(path: Path, advance: Callable[[int], None]) -> Iterator[tuple[Any, ...]]:
    """The tuples of the stream; `advance` is told the bytes read. Raises `UserError` for anything else."""
    size = path.stat().st_size
    told = 0
    with open(path, "rb") as file:
        number = 0
        while file.tell() < size:
            number += 1
            try:
                instance = _Unpickler(file).load()
            except UserError as error:
                raise UserError(f"{path}, instance {number}: {error}") from None
            except Exception as error:  # the unpickler raises almost any type for bytes that are no pickle
                raise UserError(
                    f"{path}, instance {number}: no pickled tuple at byte {told} ({error}); expected a dataset.pt of"
                    " UER-py, whole."
                ) from None
            if not isinstance(instance, tuple) or not 2 <= len(instance) <= 4:
                raise UserError(f"{path}, instance {number} is no tuple of 2 to 4; expected a dataset.pt of UER-py.")
            yield instance
            advance(file.tell() - told)
            told = file.tell()


def documents_of_pieces(instances: Iterator[tuple[Any, ...]], marks: Marks) -> Iterator[Document]:
    """mlm, t5, lm: pieces of a stream of [CLS] line [SEP]."""
    open_line: Ids | None = None
    for instance in instances:
        for token in _restored(instance):
            if token == marks.cls:
                if open_line:
                    yield Document((open_line,))
                open_line = []
            elif token != marks.sep:
                open_line = [] if open_line is None else open_line
                open_line.append(token)
    if open_line:
        yield Document((open_line,))


def documents_of_bilm(instances: Iterator[tuple[Any, ...]], marks: Marks) -> Iterator[Document]:
    """bilm: pieces without marks. Nothing tells where a line ends, so every piece is a document."""
    for instance in instances:
        yield Document((_ids(instance[0]),))


def documents_of_pairs(instances: Iterator[tuple[Any, ...]], marks: Marks) -> Iterator[Document]:
    """mt: source and target."""
    for instance in instances:
        _expect(len(instance) == 3, "expected (source, target, lengths)")
        yield Document((_bare(_ids(instance[0]), marks), _bare(_ids(instance[1]), marks)))


def documents_of_prefixes(instances: Iterator[tuple[Any, ...]], marks: Marks) -> Iterator[Document]:
    """prefixlm: [CLS] source [SEP] target [SEP]."""
    for instance in instances:
        _expect(len(instance) == 3, "expected (ids, targets, [length of the prefix, length])")
        ids, length = _ids(instance[0]), instance[2][0]
        yield Document((_bare(ids[:length], marks), _bare(ids[length:], marks)))


def documents_of_sentences(instances: Iterator[tuple[Any, ...]], marks: Marks) -> Iterator[Document]:
    """bert: A and B are one document when B follows A; else only A is, for B stands elsewhere after its own A."""
    for instance in instances:
        first, second, label = _two_parts(instance, marks)
        yield Document((first,) if label else (first, second))


def documents_of_swapped(instances: Iterator[tuple[Any, ...]], marks: Marks) -> Iterator[Document]:
    """albert: A and B in their order; label 1 says that they were swapped."""
    for instance in instances:
        first, second, label = _two_parts(instance, marks)
        yield Document((second, first) if label else (first, second))


def documents_of_labels(instances: Iterator[tuple[Any, ...]], marks: Marks) -> Iterator[Document]:
    """cls, cls_mlm: one or two texts and a label; the last member holds the lengths of the parts."""
    for instance in instances:
        _expect(len(instance) >= 3, "expected (ids, label, lengths)")
        ids, label, lengths = _restored(instance), instance[-2], instance[-1]
        _expect(isinstance(label, int) and isinstance(lengths, list), "expected a label and a list of lengths")
        parts = (ids[: lengths[0]], *([ids[lengths[0] :]] if len(lengths) == 2 else []))
        yield Document(tuple(_bare(part, marks) for part in parts), label)


READERS: dict[str, Callable[[Iterator[tuple[Any, ...]], Marks], Iterator[Document]]] = {
    "mlm": documents_of_pieces,
    "t5": documents_of_pieces,
    "lm": documents_of_pieces,
    "bilm": documents_of_bilm,
    "bert": documents_of_sentences,
    "albert": documents_of_swapped,
    "mt": documents_of_pairs,
    "prefixlm": documents_of_prefixes,
    "cls": documents_of_labels,
    "cls_mlm": documents_of_labels,
}
"""Processor -> reader; the layout is the objective's."""

_LOST = "its file does not say where sentences end"
NOT_READ = {"gsg": _LOST, "bart": _LOST, "llm_sft": "UER-py has no such file"}
"""Processor -> why its datasets cannot be read."""


def _two_parts(instance: tuple[Any, ...], marks: Marks) -> tuple[Ids, Ids, int]:
    """A, B and label of an instance of bert or albert, whose last member holds the ends of A and B."""
    _expect(len(instance) >= 3 and isinstance(instance[-1], list) and len(instance[-1]) == 2, "expected two ends")
    ids, label, (end, _) = _restored(instance), instance[-2], instance[-1]
    return _bare(ids[:end], marks), _bare(ids[end:], marks), label


def _restored(instance: tuple[Any, ...]) -> Ids:
    """The ids of an instance as they were before masking: a second member that is a list of pairs is the golden ids."""
    ids = _ids(instance[0])
    golden = instance[1]
    if len(instance) >= 3 and isinstance(golden, list) and all(isinstance(pair, tuple) for pair in golden):
        for position, token in golden:
            ids[position] = token
    return ids


def _ids(member: Any) -> Ids:
    """(ids, number of pads), or just ids in older releases."""
    ids = member[0] if isinstance(member, tuple) and len(member) == 2 else member
    _expect(isinstance(ids, list) and all(isinstance(token, int) for token in ids), "expected a list of ids")
    return list(ids)


def _bare(ids: Ids, marks: Marks) -> Ids:
    return [token for token in ids if token not in (marks.cls, marks.sep)]


def _expect(condition: bool, what: str) -> None:
    if not condition:
        raise Foreign(what)
