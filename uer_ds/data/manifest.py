"""`Manifest`: what a dataset folder says about itself, in `manifest.json`. It is written last: when it is there, the
rest is whole.

Layouts (what an item is and what a document is):
    documents  one item a document; nothing is known about sentences.
    sentences  an item is a sentence, a document is a run of them.
    pairs      a document is two items, source and target.
    labelled   a document is a text or a pair of texts (one or two items); the side column `label` has its number.
"""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from uer_ds.data.files import FileRecord
from uer_ds.errors import UserError, nearest
from uer_ds.storage.files import read_json_object, write_json

MANIFEST_NAME = "manifest.json"
FORMAT = "uer_ds dataset"
FORMAT_VERSION = 1
LAYOUTS = ("documents", "sentences", "pairs", "labelled")


@dataclass(frozen=True)
class TokenizerRecord:
    """The tokenizer that made the ids.

    Attributes:
        folder: where its vocabulary files lie, inside the dataset.
        description: what `uer_ds.tokenizers.load_saved_tokenizer` needs beside the folder.
        fingerprint: equal for two tokenizers that give the same ids; compared when a dataset is used.
        vocab_size: number of ids.
        special: role (`pad`, `unk`, `cls`, `sep`, `mask`, `sentinel`) -> id.
    """

    folder: str
    description: dict[str, Any]
    fingerprint: str
    vocab_size: int
    special: dict[str, int]


@dataclass(frozen=True)
class SourceRecord:
    """A file of the corpus (`uer_ds.data.corpus.source_records`).

    Attributes:
        path: as given.
        bytes: its size, of a compressed file: compressed.
        sample: checksum of it or of samples of it.
        modified: when it was changed last, in nanoseconds, where the checksum is one of samples; else 0.
    """

    path: str
    bytes: int
    sample: str
    modified: int = 0


@dataclass(frozen=True)
class ColumnRecord:
    """A side column: one number of `dtype` for each `per` (document or token), in `<shard>.<name>.npy`."""

    name: str
    dtype: str
    per: str


@dataclass(frozen=True)
class ShardRecord:
    """One shard: its counts, what was left out of it (with the first malformed lines in words), its files, and with how
    many tokens the search for words came to nothing (`uer_ds.data.words`)."""

    name: str
    documents: int
    items: int
    tokens: int
    empty_documents: int
    malformed_lines: int
    malformed_examples: tuple[str, ...]
    files: tuple[FileRecord, ...]
    unplaced_tokens: int = 0


@dataclass(frozen=True)
class Manifest:
    """What `manifest.json` holds.

    Attributes:
        layout: one of `LAYOUTS`.
        dtype: numpy name of the stored ids' type.
        tokenizer: the tokenizer of all items, or of the source items of a parallel dataset.
        target_tokenizer: the tokenizer of the target items when it is another one, else None.
        shards: in order; document numbers run through them.
        columns: side columns.
        sources: the corpus.
        sampling: what the user said when preparing about the samples to draw (`data_processor`, `seq_length`, ...);
            nothing in the files depends on it, training takes it as its default.
        preparation: how text became items, in words ("one document a line", ...).
        command: the command line that made the dataset.
        version: the version of uer_ds that made it.
    """

    layout: str
    dtype: str
    tokenizer: TokenizerRecord
    target_tokenizer: TokenizerRecord | None
    shards: tuple[ShardRecord, ...]
    columns: tuple[ColumnRecord, ...] = ()
    sources: tuple[SourceRecord, ...] = ()
    sampling: dict[str, Any] = field(default_factory=dict)
    preparation: str = ""
    command: tuple[str, ...] = ()
    version: str = ""
    totals: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        counts = ("documents", "items", "tokens", "empty_documents", "malformed_lines", "unplaced_tokens")
        totals = {name: sum(getattr(shard, name) for shard in self.shards) for name in counts}
        object.__setattr__(self, "totals", totals)

    @property
    def documents(self) -> int:
        return self.totals["documents"]

    @property
    def items(self) -> int:
        return self.totals["items"]

    @property
    def tokens(self) -> int:
        return self.totals["tokens"]

    @property
    def fingerprint(self) -> str:
        """Equal for two datasets with the same shards and vocabulary, wherever they lie and whoever made them."""
        digest = hashlib.sha256(self.tokenizer.fingerprint.encode())
        for shard in self.shards:
            for file in shard.files:
                digest.update(file.sha256.encode())
        return digest.hexdigest()

    def write(self, folder: str | Path) -> None:
        """Write `manifest.json` into `folder`, all or nothing."""
        value = {"format": FORMAT, "format_version": FORMAT_VERSION, **dataclasses.asdict(self)}
        write_json(Path(folder) / MANIFEST_NAME, value)


def read_manifest(folder: str | Path) -> Manifest:
    """Read `folder`/manifest.json; raises `UserError` when it is missing, foreign or damaged."""
    path = Path(folder) / MANIFEST_NAME
    what = "a dataset folder made by `uer-ds preprocess`, whose manifest is written last"
    if Path(folder).is_file():
        raise UserError(
            f"{folder} is a file; expected {what}: make one from the text, or bring UER-py's dataset.pt over with"
            " `uer-ds dataset import`."
        )
    if Path(f"{folder}.idx").is_file() and not path.is_file():
        raise UserError(
            f"{folder}.idx belongs to a pair of files of Megatron or DeepSpeed; expected {what}: bring the pair over"
            f" with `uer-ds dataset import {folder} --output_path FOLDER` and its vocabulary."
        )
    if not Path(folder).exists():
        guess = nearest(Path(folder).name, [entry.name for entry in Path(folder).absolute().parent.glob("*")])
        hint = f" (did you mean {Path(folder).parent / guess}?)" if guess else ""
        raise UserError(f"the dataset {folder} does not exist{hint}; expected {what}.")
    value = read_json_object(path, what)
    if value.pop("format", None) != FORMAT or value.pop("format_version", None) != FORMAT_VERSION:
        raise UserError(
            f"{path} is not of format {FORMAT!r} version {FORMAT_VERSION}; make the dataset with `uer-ds preprocess`."
        )
    value.pop("totals", None)
    try:
        return _manifest_from_json(value)
    except (TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{path} is damaged ({error}); make the dataset again with `uer-ds preprocess`.") from None


def shard_from_json(value: dict[str, Any]) -> ShardRecord:
    files = tuple(FileRecord(**file) for file in value.pop("files"))
    return ShardRecord(files=files, malformed_examples=tuple(value.pop("malformed_examples")), **value)


def _manifest_from_json(value: dict[str, Any]) -> Manifest:
    target = value.pop("target_tokenizer")
    return Manifest(
        tokenizer=TokenizerRecord(**value.pop("tokenizer")),
        target_tokenizer=TokenizerRecord(**target) if target else None,
        shards=tuple(shard_from_json(shard) for shard in value.pop("shards")),
        columns=tuple(ColumnRecord(**column) for column in value.pop("columns")),
        sources=tuple(SourceRecord(**source) for source in value.pop("sources")),
        command=tuple(value.pop("command")),
        **value,
    )
