"""Memory does not grow with the corpus: 2 GB of text in one worker. Minutes of work."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from uer_ds.tokenizers import write_vocabulary
from uer_ds.tokenizers.vocabulary import RESERVED

BUILD = """
import sys
from pathlib import Path
from uer_ds.cli.main import main
assert main(["preprocess", *sys.argv[1:], "--data_processor", "bert"]) == 0
print("peak", int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) // 1000)
"""


@pytest.mark.long
def test_two_gigabytes(tmp_path: Path) -> None:
    write_vocabulary([*RESERVED, *"今天气很好，。"], tmp_path / "vocab.txt")
    text = ("今天天气很好，今天很好。\n" * 9 + "\n").encode() * 4000
    with open(tmp_path / "corpus.txt", "wb") as file:
        for _ in range(2 * 10**9 // len(text)):
            file.write(text)
    options = ["--corpus_path", str(tmp_path / "corpus.txt"), "--vocab_path", str(tmp_path / "vocab.txt")]
    done = subprocess.run(
        [sys.executable, "-c", BUILD, *options, "--dataset_path", str(tmp_path / "out"), "--shards", "1"],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split("peak")[1]) < 500
