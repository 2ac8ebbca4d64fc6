"""Text -> dataset folder: `build_dataset`.

    tokenizer = load_tokenizer("bert", vocab_path="vocab.txt")
    build_dataset(BuildSpec(corpus=("corpus.txt",), output=Path("corpus_zh"), tokenizer=tokenizer))

Shards are a function of the corpus, the tokenizer and the number of shards; processes share them out. A run that is
interrupted goes on where it stopped; one that is finished says so. What goes wrong because of the corpus leaves no
trace; an interruption, a full disk or a dead worker leaves only finished shards.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from uer_ds import __version__
from uer_ds.data import build_folder
from uer_ds.data.build_folder import Identity
from uer_ds.data.corpus import SourceFile, find_sources, sample_checksum
from uer_ds.data.indexed import dtype_for_vocabulary
from uer_ds.data.lock import FolderLock
from uer_ds.data.manifest import Manifest, ShardRecord, SourceRecord, TokenizerRecord
from uer_ds.data.plan import default_shards, plan_shards
from uer_ds.data.shard_writer import ShardTask, finished_shard
from uer_ds.data.workers import WorkerDied, write_in_process, write_in_workers
from uer_ds.errors import UserError, unknown_name
from uer_ds.tokenizers.base import Tokenizer

RULES = {
    "line": ("documents", "one document a line"),
    "blank_line": ("sentences", "one sentence a line, documents end at blank lines"),
}
"""Document rule -> layout of the dataset, and the rule in words."""


@dataclass(frozen=True)
class BuildSpec:
    """A dataset to build.

    Attributes:
        corpus: files, folders and glob patterns.
        output: the dataset folder.
        tokenizer: of all text (of the source side of pairs).
        rule: how text becomes documents, a key of `RULES`.
        corpus_format: "txt", "jsonl" or "parquet"; None: by file ending.
        shards: number of shards; None: one a process, more when they would hold over 1 GiB of corpus.
        processes: worker processes.
        sampling: what training should assume about samples; kept in the manifest.
        command: the command line, kept in the manifest.
    """

    corpus: tuple[str, ...]
    output: Path
    tokenizer: Tokenizer
    rule: str = "line"
    corpus_format: str | None = None
    shards: int | None = None
    processes: int = 1
    sampling: dict[str, Any] = dataclasses.field(default_factory=dict)
    command: tuple[str, ...] = ()


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


def build_dataset(spec: BuildSpec, progress: Progress | None = None) -> Manifest:
    """Build the dataset, or go on with it, or find it finished. Raises `UserError` for anything the user can mend."""
    if spec.rule not in RULES:
        raise unknown_name("document rule", spec.rule, RULES)
    sources = find_sources(spec.corpus, spec.corpus_format)
    output = Path(spec.output)
    build_folder.check_output(output)
    created = not output.exists()
    try:
        output.mkdir(parents=True, exist_ok=True)
        with FolderLock(output):
            return _build_locked(spec, output, sources, progress or Silent())
    except OSError as error:
        raise build_folder.explained(error, output) from error
    finally:
        if created and output.is_dir() and not any(output.iterdir()):
            output.rmdir()


def _build_locked(spec: BuildSpec, output: Path, sources: tuple[SourceFile, ...], progress: Progress) -> Manifest:
    records = tuple(SourceRecord(s.path, s.bytes, sample_checksum(s)) for s in sources)
    identity = Identity(records, (spec.tokenizer.fingerprint,), RULES[spec.rule][1])
    finished = build_folder.finished_dataset(output, identity, spec.shards)
    if finished:
        progress.note(f"{output} is finished already; nothing to do.")
        return _with_sampling(finished, spec, output)
    shards = build_folder.unfinished_shards(output, identity, spec.shards) or spec.shards
    shards = shards or default_shards(sum(source.bytes for source in sources), spec.processes)
    build_folder.begin(output, identity, shards)
    try:
        manifest = _write_dataset(spec, output, sources, identity, shards, progress)
    except BaseException as error:
        build_folder.clean_up(output, keep_shards=not isinstance(error, UserError) or isinstance(error, WorkerDied))
        raise
    manifest.write(output)
    build_folder.remove_records(output)
    return manifest


def _with_sampling(manifest: Manifest, spec: BuildSpec, output: Path) -> Manifest:
    """A finished dataset takes new defaults for training; its shards do not depend on them."""
    if manifest.sampling != dict(spec.sampling):
        manifest = dataclasses.replace(manifest, sampling=dict(spec.sampling))
        manifest.write(output)
    return manifest


def _write_dataset(
    spec: BuildSpec, output: Path, sources: tuple[SourceFile, ...], identity: Identity, shards: int, progress: Progress
) -> Manifest:
    """Everything but the manifest itself."""
    tokenizer = _save_tokenizer(spec.tokenizer, output)
    dtype = dtype_for_vocabulary(spec.tokenizer.vocab_size).name
    plan = plan_shards(sources, shards, blank_line=spec.rule == "blank_line")
    names = [f"shard-{number:05d}-of-{shards:05d}" for number in range(shards)]
    tasks = [ShardTask(str(output / name), pieces, spec.rule, dtype) for name, pieces in zip(names, plan, strict=True)]
    manifest = Manifest(
        layout=RULES[spec.rule][0],
        dtype=dtype,
        tokenizer=tokenizer,
        target_tokenizer=None,
        shards=tuple(_write_shards(spec, output, tasks, tokenizer, progress)),
        sources=identity.sources,
        sampling=dict(spec.sampling),
        preparation=identity.preparation,
        command=spec.command,
        version=__version__,
    )
    if not manifest.tokens:
        raise UserError(
            f"--corpus_path {' '.join(spec.corpus)} has no text that gives a token"
            f" ({manifest.totals['empty_documents']} empty"
            f" lines); expected {identity.preparation}."
        )
    return manifest


def _write_shards(
    spec: BuildSpec, output: Path, tasks: list[ShardTask], tokenizer: TokenizerRecord, progress: Progress
) -> list[ShardRecord]:
    """The records of all shards; those that an earlier run finished are not made again."""
    records = {task.prefix: finished_shard(task) for task in tasks}
    missing = [task for task in tasks if records[task.prefix] is None]
    if len(missing) < len(tasks):
        progress.note(f"{len(tasks) - len(missing)} of {len(tasks)} shards were finished by an earlier run.")
    progress.start(sum(task.bytes for task in missing))
    processes = min(spec.processes, len(missing))
    try:
        if processes > 1:
            made = write_in_workers(
                missing, output / tokenizer.folder, tokenizer.description, processes, progress.advance
            )
        else:
            made = write_in_process(missing, spec.tokenizer, progress.advance)
    finally:
        for leftover in output.glob("*.tmp"):  # of a worker that was killed
            leftover.unlink()
    records.update((task.prefix, record) for task, record in zip(missing, made, strict=True))
    return [record for record in records.values() if record is not None]


def _save_tokenizer(tokenizer: Tokenizer, output: Path) -> TokenizerRecord:
    description = tokenizer.save(output / "tokenizer")
    special = {role: number for role, number in dataclasses.asdict(tokenizer.special).items() if number is not None}
    return TokenizerRecord("tokenizer", description, tokenizer.fingerprint, tokenizer.vocab_size, special)
