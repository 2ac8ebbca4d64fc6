"""What `uer_ds.data.shards.build_dataset` is told: the build, and who watches it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from uer_ds.data.columns import LABEL, WORD_START
from uer_ds.data.indexed import dtype_for_vocabulary
from uer_ds.data.manifest import ColumnRecord
from uer_ds.data.rows import Tokenizers
from uer_ds.tokenizers.base import Tokenizer


@dataclass(frozen=True)
class Rule:
    """How text becomes documents: the layout it gives, and in words for lines of text and for records."""

    layout: str
    lines: str
    records: str


RULES = {
    "line": Rule("documents", "one document a line", "one document a record (text)"),
    "blank_line": Rule(
        "sentences",
        "one sentence a line, documents end at blank lines",
        "one document a record (text), split into sentences",
    ),
    "split": Rule(
        "sentences",
        "one document a line, split into sentences",
        "one document a record (text), split into sentences",
    ),
    "pair": Rule(
        "pairs",
        "one pair a line (source, tab, target)",
        "one pair a record (source and target, or instruction, input and output)",
    ),
    "label": Rule(
        "labelled",
        "one label and text a line (label, tab, text, perhaps tab, second text)",
        "one label and text a record (label, text or text_a, perhaps text_b)",
    ),
}


@dataclass(frozen=True)
class BuildSpec:
    """A dataset to build.

    Attributes:
        corpus: files, folders and glob patterns.
        output: the dataset folder.
        tokenizer: of all text (of the source side of pairs).
        target_tokenizer: of the target side of pairs; None: the same.
        rule: how text becomes documents, a key of `RULES`.
        corpus_format: "txt", "jsonl" or "parquet"; None: by file ending.
        shards: number of shards; None: one a process, more when they would hold over 1 GiB of corpus.
        processes: worker processes (on each rank of a team).
        strict: fail at the first malformed line instead of counting it.
        word_starts: find the words of the text too, for whole-word masking.
        sampling: options about samples (`data_processor`, `seq_length`, ...), kept in the manifest as training's
            defaults.
        command: the command line, kept in the manifest.
    """

    corpus: tuple[str, ...]
    output: Path
    tokenizer: Tokenizer
    target_tokenizer: Tokenizer | None = None
    rule: str = "line"
    corpus_format: str | None = None
    shards: int | None = None
    processes: int = 1
    strict: bool = False
    word_starts: bool = False
    sampling: Mapping[str, Any] = field(default_factory=dict)
    command: tuple[str, ...] = ()

    @property
    def tokenizers(self) -> Tokenizers:
        """The tokenizers that are used: a target tokenizer only for pairs, and only when it is another one."""
        target = self.target_tokenizer
        if target is None or self.rule != "pair" or target.fingerprint == self.tokenizer.fingerprint:
            return Tokenizers(self.tokenizer)
        return Tokenizers(self.tokenizer, target)

    @property
    def dtype(self) -> str:
        """The numpy name of the stored ids' type."""
        return dtype_for_vocabulary(max(tokenizer.vocab_size for tokenizer in self.tokenizers)).name

    @property
    def columns(self) -> tuple[ColumnRecord, ...]:
        """The side columns to write."""
        wanted = ((LABEL, self.rule == "label"), (WORD_START, self.word_starts))
        return tuple(column for column, is_wanted in wanted if is_wanted)

    def preparation(self, formats: Iterable[str]) -> str:
        """How files of these formats become documents, in words."""
        rule = RULES[self.rule]
        words = dict.fromkeys(rule.lines if format == "txt" else rule.records for format in formats)
        return "; ".join([*words, *(["with word bounds"] if self.word_starts else [])])


class Progress(Protocol):
    """Who watches a build."""

    def start(self, total_bytes: int) -> None:
        """Work begins; this much of the corpus is to be read."""

    def advance(self, count: int) -> None:
        """`count` more bytes were read."""

    def note(self, text: str) -> None:
        """Something the user should know."""


class Silent:
    """A `Progress` that shows nothing."""

    def start(self, total_bytes: int) -> None: ...

    def advance(self, count: int) -> None: ...

    def note(self, text: str) -> None: ...
