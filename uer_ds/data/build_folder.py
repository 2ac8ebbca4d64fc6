"""The folder of a build: what may be in it, whose leftovers it holds, and what remains after a failure.

While a build runs, `build.json` says what is being built and each finished shard has a record beside it. The manifest
comes last and replaces them. A build goes on only from leftovers of the same corpus, vocabulary and preparation; file
names do not matter.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from uer_ds.data.manifest import MANIFEST_NAME, Manifest, SourceRecord, read_manifest
from uer_ds.errors import UserError
from uer_ds.storage.files import read_json_object, write_json
from uer_ds.storage.lock import LOCK_NAME

BUILD_NAME = "build.json"
STOP_NAME = "build.stop"


@dataclass(frozen=True)
class Identity:
    """What two builds must have in common to give the same text the same ids in the same order."""

    sources: tuple[SourceRecord, ...]
    fingerprints: tuple[str, ...]
    preparation: str

    @classmethod
    def of(cls, manifest: Manifest) -> Identity:
        tokenizers = [manifest.tokenizer, *([manifest.target_tokenizer] if manifest.target_tokenizer else [])]
        return cls(manifest.sources, tuple(t.fingerprint for t in tokenizers), manifest.preparation)

    def difference(self, other: Identity) -> str | None:
        """In what `other`, found in a folder, differs; None when it is the same build."""
        if [(s.bytes, s.sample) for s in self.sources] != [(s.bytes, s.sample) for s in other.sources]:
            return f"of another corpus ({', '.join(s.path for s in other.sources[:3])})"
        for mine, theirs in zip(self.sources, other.sources, strict=True):
            if theirs.modified not in (0, mine.modified):
                return (
                    f"of {mine.path} as it was before its last change (if its text is the same, as in a copy, say so by"
                    f" `touch -d @{theirs.modified // 10**9}.{theirs.modified % 10**9:09d} {mine.path}`)"
                )
        if self.fingerprints != other.fingerprints:
            return "made with another vocabulary"
        if self.preparation != other.preparation:
            return f"prepared in another way ({other.preparation})"
        return None


def check_output(output: Path) -> None:
    """Refuse to write into a file, or into a folder that is not ours."""
    if output.is_file():
        raise UserError(
            f"--dataset_path {output} is a file; expected the folder to write: UER-py wrote one file, here a dataset is"
            " a folder. Give another name, or delete the file."
        )
    ours = (MANIFEST_NAME, BUILD_NAME, LOCK_NAME)
    if output.is_dir() and any(output.iterdir()) and not any((output / name).exists() for name in ours):
        raise UserError(f"--dataset_path {output} is a folder with other files in it; give a new or an empty one.")


def finished_dataset(output: Path, wanted: Identity, shards: int | None) -> Manifest | None:
    """The manifest of the same build, when it is finished already. Another finished build is a `UserError`."""
    if not (output / MANIFEST_NAME).exists():
        return None
    manifest = read_manifest(output)
    _check_same(output, Identity.of(manifest), wanted, "holds a dataset")
    _check_shards(output, len(manifest.shards), shards)
    remove_records(output)
    return manifest


def unfinished_shards(output: Path, wanted: Identity, shards: int | None) -> int | None:
    """The number of shards fixed by an unfinished run of the same build; None when there is none."""
    path = output / BUILD_NAME
    if not path.exists():
        return None
    value = read_json_object(path, "the description of an unfinished build")
    sources = tuple(SourceRecord(**source) for source in value["sources"])
    found = Identity(sources, tuple(value["fingerprints"]), value["preparation"])
    _check_same(output, found, wanted, "holds an unfinished dataset")
    _check_shards(output, value["shards"], shards)
    return value["shards"]


def begin(output: Path, identity: Identity, shards: int) -> None:
    """Say what is being built; what an earlier run left half-written or stopped is over."""
    _remove_unfinished(output)
    write_json(output / BUILD_NAME, {**asdict(identity), "shards": shards})


def stop(output: Path) -> None:
    """Tell the other ranks of a build, which may be on other machines, that it has failed."""
    if output.is_dir():
        (output / STOP_NAME).touch()


def stopped(output: Path) -> bool:
    """Whether a rank has called `stop`."""
    return (output / STOP_NAME).exists()


def remove_if_empty(output: Path) -> None:
    """Take back a folder that was made for nothing."""
    if output.is_dir() and not any(output.iterdir()):
        output.rmdir()


def remove_records(output: Path) -> None:
    """Remove what only an unfinished build needs."""
    for record in output.glob("shard-*-of-*.json"):
        record.unlink()
    (output / BUILD_NAME).unlink(missing_ok=True)


def clean_up(output: Path, keep_shards: bool) -> None:
    """After a failure: keep finished shards when asked and when there are any, otherwise remove what was written."""
    _remove_unfinished(output)
    if keep_shards and any(output.glob("shard-*-of-*.json")):
        return
    for path in output.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != LOCK_NAME:  # goes with its owner
            path.unlink()


def explained(error: OSError, output: Path) -> UserError:
    """A refusal of the operating system in one sentence."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        free = shutil.disk_usage(output).free if output.exists() else 0
        return UserError(
            f"no space left for {output} ({free >> 20} MiB free); a dataset takes about two thirds of its text: make"
            " room or choose another --dataset_path, and run the same command again: finished shards are kept."
        )
    return UserError(f"cannot read or write {error.filename or output}: {error.strerror or error}.")


def _remove_unfinished(output: Path) -> None:
    for leftover in (*output.glob("*.tmp"), output / STOP_NAME):
        leftover.unlink(missing_ok=True)


@contextmanager
def staging(*outputs: Path) -> Iterator[list[Path]]:
    """New folders beside `outputs` that take their names together at the end, or are removed on any exception."""
    for output in outputs:
        _check_new(output)
    if len({output.resolve() for output in outputs}) < len(outputs):
        raise UserError(f"{outputs[0]} is to hold two datasets; give each a folder of its own.")
    folders: list[Path] = []
    placed: list[Path] = []
    try:
        for output in outputs:
            output.parent.mkdir(parents=True, exist_ok=True)
            folders.append(Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=output.parent)))
        yield folders
        for folder, output in zip(folders, outputs, strict=True):
            folder.chmod(0o755)  # mkdtemp makes it private
            os.replace(folder, output)  # an empty folder may stand there
            placed.append(output)
    except BaseException as error:
        for folder in (*folders, *placed):
            shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, OSError):
            raise explained(error, outputs[0].parent) from error
        raise


def _check_new(output: Path) -> None:
    check_output(output)
    if (output / MANIFEST_NAME).exists() or (output / BUILD_NAME).exists():
        raise UserError(f"{output} holds a dataset already; give another folder, or delete this one.")


def _check_same(output: Path, found: Identity, wanted: Identity, state: str) -> None:
    difference = wanted.difference(found)
    if difference:
        raise UserError(
            f"{output} {state} {difference}; give another --dataset_path, or delete the folder to build it anew."
        )


def _check_shards(output: Path, found: int, wanted: int | None) -> None:
    if wanted not in (None, found):
        raise UserError(
            f"{output} has {found} shards, not {wanted}; leave --shards out, or give another --dataset_path."
        )
