"""Text -> dataset folder: `build_dataset`.

    tokenizer = load_tokenizer("bert", vocab_path="vocab.txt")
    build_dataset(BuildSpec(corpus=("corpus.txt",), output=Path("corpus_zh"), tokenizer=tokenizer))

Shards are a function of the corpus, the tokenizers and the number of shards; processes and MPI ranks share them out. A
run that is interrupted goes on where it stopped; one that is finished says so. What goes wrong because of the corpus
leaves no trace; an interruption, a full disk or a dead worker leaves only finished shards.
"""

from __future__ import annotations

import dataclasses
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uer_ds import __version__
from uer_ds.data import build_folder
from uer_ds.data.build_folder import Identity
from uer_ds.data.build_spec import RULES, BuildSpec, Progress, Silent
from uer_ds.data.columns import LABEL, WORD_START
from uer_ds.data.corpus import find_sources, sample_checksum
from uer_ds.data.indexed import dtype_for_vocabulary
from uer_ds.data.lock import FolderLock
from uer_ds.data.manifest import ColumnRecord, Manifest, ShardRecord, SourceRecord, TokenizerRecord
from uer_ds.data.plan import default_shards, plan_shards
from uer_ds.data.rows import Tokenizers
from uer_ds.data.shard_writer import EXAMPLES, ShardTask, finished_shard, write_shard
from uer_ds.data.team import Alone, Stopped, Team
from uer_ds.data.workers import SavedTokenizers, WorkerDied, write_in_workers
from uer_ds.errors import UserError, unknown_name
from uer_ds.tokenizers.base import Tokenizer

__all__ = ["RULES", "BuildSpec", "Progress", "Silent", "build_dataset", "save_tokenizer"]


@dataclass(frozen=True)
class Work:
    """What is to be done: all shards, and everything the manifest will say but their records."""

    tasks: tuple[ShardTask, ...]
    tokenizers: SavedTokenizers
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
                work = self.team.first(lambda: self._begin(held))
                if isinstance(work, Manifest):
                    return work
                return self._work(work)
            except OSError as error:
                raise build_folder.explained(error, self.output) from error

    def _begin(self, held: ExitStack) -> Manifest | Work:
        """On rank 0: take the folder, find out what is there and what is to be done. `held` gives the folder back."""
        sources = find_sources(self.spec.corpus, self.spec.corpus_format)
        build_folder.check_output(self.output)
        if not self.output.exists():
            held.callback(build_folder.remove_if_empty, self.output)
        self.output.mkdir(parents=True, exist_ok=True)
        held.enter_context(FolderLock(self.output))
        records = tuple(SourceRecord(s.path, s.bytes, sample_checksum(s)) for s in sources)
        formats = {source.format == "txt" for source in sources}
        identity = Identity(records, self._fingerprints(), self._preparation(formats))
        finished = build_folder.finished_dataset(self.output, identity, self.spec.shards)
        if finished:
            self.progress.note(f"{self.output} is finished already; nothing to do.")
            return self._with_sampling(finished)
        shards = build_folder.unfinished_shards(self.output, identity, self.spec.shards) or self.spec.shards
        shards = shards or default_shards(sum(source.bytes for source in sources), self.spec.processes * self.team.size)
        plan = plan_shards(sources, shards, blank_line=self.spec.rule == "blank_line")
        build_folder.begin(self.output, identity, shards)
        prefix = str(self.output / "shard")
        names = [f"{prefix}-{number:05d}-of-{shards:05d}" for number in range(shards)]
        return Work(tuple(map(self._task, names, plan)), self._save_tokenizers(), identity)

    def _work(self, work: Work) -> Manifest:
        """Make what is missing, each rank its part; then rank 0 completes the folder."""
        try:
            records = [record for part in self.team.each(lambda: self._write_part(work)) for record in part]
            return self.team.first(lambda: self._finish(work, records))
        except BaseException as error:
            if self.team.rank == 0:
                keep = not isinstance(error, UserError) or isinstance(error, WorkerDied)
                build_folder.clean_up(self.output, keep_shards=keep)
            raise

    def _write_part(self, work: Work) -> list[tuple[int, ShardRecord]]:
        """(number, record) of this rank's shards; those that an earlier run finished are not made again."""
        own = range(self.team.rank, len(work.tasks), self.team.size)
        records = {number: finished_shard(work.tasks[number]) for number in own}
        missing = [number for number in own if records[number] is None]
        if len(missing) < len(own):
            self.progress.note(f"{len(own) - len(missing)} of {len(own)} shards were finished by an earlier run.")
        tasks = [work.tasks[number] for number in missing]
        self.progress.start(sum(task.bytes for task in tasks))
        try:
            made = self._write(tasks, work.tokenizers)
        except Exception:
            build_folder.stop(self.output)
            raise
        records.update(zip(missing, made, strict=True))
        return [(number, record) for number, record in records.items() if record is not None]

    def _write(self, tasks: list[ShardTask], saved: SavedTokenizers) -> list[ShardRecord]:
        processes = min(self.spec.processes, len(tasks))
        if processes > 1:
            return write_in_workers(tasks, saved, processes, self._advance)
        tokenizers = Tokenizers(self.spec.tokenizer, self._target())
        return [write_shard(task, tokenizers, self._advance) for task in tasks]

    def _advance(self, count: int) -> None:
        if self.team.size > 1 and build_folder.stopped(self.output):
            raise Stopped
        self.progress.advance(count)

    def _finish(self, work: Work, records: list[tuple[int, ShardRecord]]) -> Manifest:
        """On rank 0: the manifest, last."""
        manifest = Manifest(
            layout=RULES[self.spec.rule].layout,
            dtype=work.tasks[0].dtype,
            tokenizer=work.tokenizers.source,
            target_tokenizer=work.tokenizers.target,
            shards=tuple(record for _, record in sorted(records, key=lambda pair: pair[0])),
            columns=self._columns(),
            sources=work.identity.sources,
            sampling=dict(self.spec.sampling),
            preparation=work.identity.preparation,
            command=self.spec.command,
            version=__version__,
        )
        examples = [example for shard in manifest.shards for example in shard.malformed_examples][:EXAMPLES]
        if not manifest.tokens:
            found = (
                f"{manifest.totals['empty_documents']} empty and {manifest.totals['malformed_lines']} malformed lines"
            )
            example = f", such as: {examples[0]}" if examples else ""
            raise UserError(
                f"--corpus_path {' '.join(self.spec.corpus)} has no text that gives a token ({found}{example});"
                f" expected {manifest.preparation}."
            )
        for example in examples:
            self.progress.note(f"left out: {example}")
        manifest.write(self.output)
        build_folder.remove_records(self.output)
        return manifest

    def _task(self, prefix: str, pieces: Any) -> ShardTask:
        sizes = [t.vocab_size for t in (self.spec.tokenizer, self._target()) if t is not None]
        dtype = dtype_for_vocabulary(max(sizes)).name
        return ShardTask(prefix, pieces, self.spec.rule, dtype, self._columns(), self.spec.strict)

    def _columns(self) -> tuple[ColumnRecord, ...]:
        wanted = ((LABEL, self.spec.rule == "label"), (WORD_START, self.spec.word_starts))
        return tuple(column for column, is_wanted in wanted if is_wanted)

    def _target(self) -> Tokenizer | None:
        """The target tokenizer, if it is not the source's."""
        target = self.spec.target_tokenizer
        same = target is None or target.fingerprint == self.spec.tokenizer.fingerprint
        return None if same or self.spec.rule != "pair" else target

    def _fingerprints(self) -> tuple[str, ...]:
        return tuple(t.fingerprint for t in (self.spec.tokenizer, self._target()) if t is not None)

    def _preparation(self, formats: set[bool]) -> str:
        rule = RULES[self.spec.rule]
        words = [rule.lines if is_text else rule.records for is_text in sorted(formats, reverse=True)]
        return "; ".join([*words, *(["with word bounds"] if self.spec.word_starts else [])])

    def _save_tokenizers(self) -> SavedTokenizers:
        target = self._target()
        source_record = save_tokenizer(self.spec.tokenizer, self.output, "tokenizer")
        target_record = save_tokenizer(target, self.output, "target_tokenizer") if target else None
        return SavedTokenizers(self.output, source_record, target_record)

    def _with_sampling(self, manifest: Manifest) -> Manifest:
        """A finished dataset takes new defaults for training; its shards do not depend on them."""
        if manifest.sampling != dict(self.spec.sampling):
            manifest = dataclasses.replace(manifest, sampling=dict(self.spec.sampling))
            manifest.write(self.output)
        return manifest


def save_tokenizer(tokenizer: Tokenizer, output: Path, folder: str) -> TokenizerRecord:
    """Put the tokenizer's files into the dataset, in `folder` of `output`."""
    description = tokenizer.save(output / folder)
    special = {role: number for role, number in dataclasses.asdict(tokenizer.special).items() if number is not None}
    return TokenizerRecord(folder, description, tokenizer.fingerprint, tokenizer.vocab_size, special)
