"""A dataset of 10^12 tokens and 10^9 documents opens at once: in sparse files, which take no room on the disk."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from uer_ds.data.files import FileRecord
from uer_ds.data.indexed import HEADER, MAGIC
from uer_ds.data.manifest import Manifest, ShardRecord, TokenizerRecord

SHARDS = 4
DOCUMENTS = 10**9 // SHARDS
TOKENS = 10**12 // SHARDS
READ = """
import sys, time
started = time.perf_counter()
from uer_ds.data.dataset import open_dataset
dataset = open_dataset(sys.argv[1])
assert dataset.documents == 10**9 and dataset.tokens == 10**12
for shard in range(4):  # the last document of each shard is the only one that is not empty
    d = (shard + 1) * 250_000_000 - 1
    assert dataset.locate_document(d) == (shard, 249_999_999)
    assert dataset.document_offset(d) == (shard + 1) * 250_000_000_000 - 3
    assert dataset.document(d).tolist() == [7, 8, 9]
    assert dataset.document(d - 1000).tolist() == []
assert dataset.shards[2].tokens[10**11 : 10**11 + 4].tolist() == [0] * 4
assert "torch" not in sys.modules
seconds = time.perf_counter() - started
peak = open("/proc/self/status").read().split("VmHWM:")[1].split()[0]  # of this program, unlike ru_maxrss
print(seconds, int(peak) / 1000)
"""


def write_sparse(prefix: Path) -> None:
    """All documents but the last one have one item without tokens at the start.

    The last has three tokens at the end.
    """
    try:
        with open(f"{prefix}.bin", "wb") as data:
            data.seek(2 * (TOKENS - 3))
            data.write(bytes([7, 0, 8, 0, 9, 0]))
        with open(f"{prefix}.idx", "wb") as index:
            index.write(HEADER.pack(MAGIC, 1, 3, DOCUMENTS, DOCUMENTS + 1))
            index.seek(HEADER.size + 4 * (DOCUMENTS - 1))
            index.write((3).to_bytes(4, "little"))
            index.seek(8 * (DOCUMENTS - 1), 1)
            index.write((2 * (TOKENS - 3)).to_bytes(8, "little"))
            index.seek(8 * (DOCUMENTS - 1), 1)
            index.write((DOCUMENTS - 1).to_bytes(8, "little") + DOCUMENTS.to_bytes(8, "little"))
    except OSError as error:
        pytest.skip(f"this disk holds no sparse files of {2 * TOKENS >> 30} GiB ({error})")


def test_opens_at_once_in_little_memory(tmp_path: Path) -> None:
    names = [f"shard-{number:05d}-of-{SHARDS:05d}" for number in range(SHARDS)]
    for name in names:
        write_sparse(tmp_path / name)
    files = (FileRecord("x.bin", 2 * TOKENS, ""),)
    shards = tuple(ShardRecord(name, DOCUMENTS, DOCUMENTS, TOKENS, 0, 0, (), files) for name in names)
    tokenizer = TokenizerRecord("tokenizer", {}, "none", 21128, {})
    Manifest("documents", "int16", tokenizer, None, shards).write(tmp_path)
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", READ, str(tmp_path)], cwd=root, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    seconds, megabytes = map(float, done.stdout.split())
    assert megabytes < 200
    assert seconds < 1
