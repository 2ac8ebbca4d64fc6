"""Text -> dataset folder: `build_dataset`.

    tokenizer = load_tokenizer("bert", vocab_path="vocab.txt")
    build_dataset(BuildSpec(corpus=("corpus.txt",), output=Path("corpus_zh"), tokenizer=tokenizer))

Shards are a function of the corpus, the tokenizers and the number of shards; processes and MPI ranks share them out. A
run that is interrupted goes on where it stopped; one that is finished says so. What goes wrong because of the corpus
leaves no trace; an interruption, a full disk or a dead worker leaves only finished shards.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from uer_ds import __version__
from uer_ds.data import build_folder
from uer_ds.data.build_folder import Identity
from uer_ds.data.build_spec import RULES, BuildSpec, Progress, Silent
from uer_ds.data.corpus import SourceFile, find_sources, skipped_files, source_records
from uer_ds.data.manifest import Manifest, ShardRecord, TokenizerRecord
from uer_ds.data.plan import default_shards, plan_shards
from uer_ds.data.shard_writer import EXAMPLES, ShardTask, finished_shard, write_shard
from uer_ds.data.team import Alone, Stopped, Team
from uer_ds.data.workers import SavedTokenizers, WorkerDied, prepare, write_in_workers
from uer_ds.errors import UserError, unknown_name
from uer_ds.storage.lock import FolderLock
from uer_ds.tokenizers.base import Tokenizer

WORKER_BYTES = 16 << 20
"""The least text that is worth starting a worker for: it takes a second or two to get ready."""

__all__ = ["RULES", "BuildSpec", "Progress", "Silent", "build_dataset", "save_tokenizer"]


@dataclass(frozen=True)
class Work:
    """What is to be done: all shards, and which build they belong to."""

    tasks: tuple[ShardTask, ...]
    identity: Identity


def build_dataset(spec: BuildSpec, progress: Progress | None = None, team: Team | None = None) -> Manifest:
    """Build the dataset, or go on with it, or find it finished.

    Every rank of `team` calls this with the same `spec`. Raises `UserError` for anything the user can mend.
    """
    if spec.rule not in RULES:
        raise unknown_name("document rule", spec.rule, RULES)
    return _Build(spec, progress or Silent(), team or Alone()).run()


class _Build:
    """One call of `build_dataset`, on one rank."""

    def __init__(self, spec: BuildSpec, progress: Progress, team: Team):
        self.spec = spec
        self.progress = progress
        self.team = team
        self.output = Path(spec.output)

    def run(self) -> Manifest:
        with ExitStack() as held:
            try:
                found = self.team.first(lambda: self._look(held))
                return found if isinstance(found, Manifest) else self._make(found)
            except OSError as error:
                raise build_folder.explained(error, self.output) from error

    def _look(self, held: ExitStack) -> Manifest | Work:
        """On rank 0: take the folder, find out what is there and what is to be done. `held` gives the folder back."""
        sources = find_sources(self.spec.corpus, self.spec.corpus_format)
        if skipped := skipped_files(self.spec.corpus, self.spec.corpus_format):
            self.progress.note(skipped_words(skipped))
        build_folder.check_output(self.output)
        if not self.output.exists():
            held.callback(build_folder.remove_if_empty, self.output)
        self.output.mkdir(parents=True, exist_ok=True)
        held.enter_context(FolderLock(self.output, "--dataset_path"))
        identity = Identity(
            sources=source_records(sources),
            fingerprints=tuple(tokenizer.fingerprint for tokenizer in self.spec.tokenizers),
            preparation=self.spec.preparation(source.format for source in sources),
        )
        finished = build_folder.finished_dataset(self.output, identity, self.spec.shards)
        if finished:
            return self._with_sampling(finished)
        if min(self.spec.processes, useful_processes(sum(source.bytes for source in sources))) > 1:
            prepare()
        shards = build_folder.unfinished_shards(self.output, identity, self.spec.shards) or self.spec.shards
        return Work(self._plan(sources, shards), identity)

    def _plan(self, sources: tuple[SourceFile, ...], shards: int | None) -> tuple[ShardTask, ...]:
        spec = self.spec
        shards = shards or default_shards(sum(source.bytes for source in sources), spec.processes * self.team.size)
        plan = plan_shards(sources, shards, blank_line=spec.rule == "blank_line")
        names = [f"shard-{number:05d}-of-{shards:05d}" for number in range(shards)]
        return tuple(
            ShardTask(str(self.output / name), pieces, spec.rule, spec.dtype, spec.columns, spec.strict)
            for name, pieces in zip(names, plan, strict=True)
        )

    def _make(self, work: Work) -> Manifest:
        """Make what is missing, each rank its part; rank 0 begins and completes the folder."""
        try:
            saved = self.team.first(lambda: self._begin(work))
            parts = self.team.each(lambda: self._write_part(work, saved))
            records = dict(pair for part in parts for pair in part)
            return self.team.first(lambda: self._finish(work, saved, records))
        except BaseException as error:
            if self.team.rank == 0:
                keep = not isinstance(error, UserError) or isinstance(error, WorkerDied)
                build_folder.clean_up(self.output, keep_shards=keep)
            raise

    def _begin(self, work: Work) -> SavedTokenizers:
        build_folder.begin(self.output, work.identity, len(work.tasks))
        source, target = self.spec.tokenizers.source, self.spec.tokenizers.target
        return SavedTokenizers(
            folder=self.output,
            source=save_tokenizer(source, self.output, "tokenizer"),
            target=save_tokenizer(target, self.output, "target_tokenizer") if target else None,
        )

    def _write_part(self, work: Work, saved: SavedTokenizers) -> list[tuple[int, ShardRecord]]:
        """(number, record) of this rank's shards; those that an earlier run finished are not made again."""
        own = range(self.team.rank, len(work.tasks), self.team.size)
        finished = {number: finished_shard(task) for number, task in enumerate(work.tasks)}
        records = {number: finished[number] for number in own}
        missing = [number for number in own if records[number] is None]
        if len(missing) < len(own):
            self.progress.note(f"{len(own) - len(missing)} of {len(own)} shards were finished by an earlier run.")
        tasks = [work.tasks[number] for number in missing]
        self.progress.start(sum(task.bytes for number, task in enumerate(work.tasks) if finished[number] is None))
        try:
            made = self._write(tasks, saved)
        except Exception:
            build_folder.stop(self.output)
            raise
        records.update(zip(missing, made, strict=True))
        return [(number, record) for number, record in records.items() if record is not None]

    def _write(self, tasks: list[ShardTask], saved: SavedTokenizers) -> list[ShardRecord]:
        processes = min(self.spec.processes, len(tasks), useful_processes(sum(task.bytes for task in tasks)))
        if processes > 1:
            return write_in_workers(tasks, self.spec.tokenizers, saved, processes, self._advance)
        return [write_shard(task, self.spec.tokenizers, self._advance) for task in tasks]

    def _advance(self, count: int) -> None:
        if self.team.size > 1 and build_folder.stopped(self.output):
            raise Stopped
        self.team.advance(count, self.progress.advance)

    def _finish(self, work: Work, saved: SavedTokenizers, records: dict[int, ShardRecord]) -> Manifest:
        """On rank 0: the manifest, last."""
        manifest = Manifest(
            layout=RULES[self.spec.rule].layout,
            dtype=self.spec.dtype,
            tokenizer=saved.source,
            target_tokenizer=saved.target,
            shards=tuple(records[number] for number in range(len(work.tasks))),
            columns=self.spec.columns,
            sources=work.identity.sources,
            sampling=dict(self.spec.sampling),
            preparation=work.identity.preparation,
            command=self.spec.command,
            version=__version__,
        )
        examples = [example for shard in manifest.shards for example in shard.malformed_examples][:EXAMPLES]
        self._check_not_empty(manifest, examples)
        for example in examples:
            self.progress.note(f"left out: {example}")
        manifest.write(self.output)
        build_folder.remove_records(self.output)
        return manifest

    def _check_not_empty(self, manifest: Manifest, examples: list[str]) -> None:
        if manifest.tokens:
            return
        empty, malformed = manifest.totals["empty_documents"], manifest.totals["malformed_lines"]
        corpus = f"--corpus_path {' '.join(self.spec.corpus)}"
        if examples:
            raise UserError(f"{corpus}: none of {empty + malformed} lines can be used; {examples[0]}.")
        raise UserError(f"{corpus} gives no token: {empty} empty lines; expected {manifest.preparation}.")

    def _with_sampling(self, manifest: Manifest) -> Manifest:
        """A finished dataset takes new defaults for training; its shards do not depend on them."""
        before, wanted = manifest.sampling, dict(self.spec.sampling)
        changes = [
            f"{name} {before.get(name, 'unsaid')} -> {wanted.get(name, 'unsaid')}"
            for name in {**before, **wanted}
            if before.get(name) != wanted.get(name)
        ]
        if not changes:
            self.progress.note(f"{self.output} is finished already; nothing to do.")
            return manifest
        self.progress.note(f"{self.output} is finished already; new defaults for training: {', '.join(changes)}.")
        manifest = dataclasses.replace(manifest, sampling=wanted)
        manifest.write(self.output)
        return manifest


def useful_processes(corpus_bytes: int) -> int:
    """How many processes have enough to do."""
    return corpus_bytes // WORKER_BYTES


def skipped_words(files: Sequence[Path]) -> str:
    """Files of a folder that are not read, for the user."""
    names = ", ".join(str(file) for file in files[:EXAMPLES])
    more = f" and {len(files) - EXAMPLES} more" if len(files) > EXAMPLES else ""
    return f"{len(files)} files of unknown ending are not read: {names}{more}; --corpus_format takes all files."


def save_tokenizer(tokenizer: Tokenizer, output: Path, folder: str) -> TokenizerRecord:
    """Put the tokenizer's files into the dataset, in `folder` of `output`."""
    description = tokenizer.save(output / folder)
    special = {role: number for role, number in dataclasses.asdict(tokenizer.special).items() if number is not None}
    return TokenizerRecord(folder, description, tokenizer.fingerprint, tokenizer.vocab_size, special)
