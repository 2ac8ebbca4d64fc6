"""Text to ids on disk: ours beside `tokenizers` and `sentencepiece`, on the same text, in one run.

    python bench/preprocess.py --corpus_path corpus.txt --vocab_path google_zh_vocab.txt \
        --spm_model_path cluecorpussmall_spm.model --megabytes 2000 --library_megabytes 100

Every contender is a command of its own that reads the file, makes ids and writes them; all of it counts, start-up too.
The text is the corpus over and over, up to the size asked for; the libraries, which take their time, may get a smaller
part of it. MB are 10^6 bytes of text. "A core" divides by the CPU seconds of all processes, so that the figure holds on
a busy machine; "elapsed" by those on the clock, beside which stand the cores that other work had; what more processes
gain on free cores is told by the CPU seconds of the busiest one. Peak memory is that of the largest process. Targets:
100 MB/s a core, 25 times `tokenizers`, gains in proportion to the processes.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from bench.process_tree import Usage, run_measured

ROOT = Path(__file__).resolve().parents[1]
LINES = 10_000
"""Lines in a batch for the libraries."""


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    text_mb: float
    written_mb: float
    usage: Usage

    @property
    def speed(self) -> float:
        """MB/s a core."""
        return self.text_mb / self.usage.cpu_seconds

    def __str__(self) -> str:
        return (
            f"{self.name:34} {self.text_mb:7.0f} MB {self.speed:8.1f} MB/s a core"
            f" {self.text_mb / self.usage.seconds:8.1f} MB/s elapsed (others: {self.usage.others:.1f} cores)"
            f"  peak {self.usage.peak_mb:4.0f} MB  output {self.written_mb / self.text_mb:4.0%} of the text"
        )


def main() -> None:
    """Run the contenders one after the other and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus_path", required=True, help="UTF-8 text, one document a line")
    parser.add_argument("--vocab_path", required=True, help="WordPiece vocabulary")
    parser.add_argument("--spm_model_path", help="sentencepiece model; without it sentencepiece does not take part")
    parser.add_argument("--megabytes", type=int, default=200, help="size of the text (default: 200)")
    parser.add_argument("--library_megabytes", type=int, help="the libraries' part of it (default: all)")
    parser.add_argument("--processes", type=int, nargs="*", default=[1, 2], help="ours with so many processes")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        whole = repeat(Path(args.corpus_path), Path(folder) / "whole.txt", args.megabytes)
        part = whole
        if args.library_megabytes:
            part = repeat(Path(args.corpus_path), Path(folder) / "part.txt", args.library_megabytes)
        ours = [measure_ours(whole, ["--vocab_path", args.vocab_path], processes) for processes in args.processes]
        theirs = [measure_library("tokenizers", part, args.vocab_path)]
        if args.spm_model_path:
            theirs.append(measure_library("sentencepiece", part, args.spm_model_path))
            measure_ours(part, ["--spm_model_path", args.spm_model_path], 1, " sentencepiece model")
    compare(ours, args.processes, theirs[0])


def repeat(source: Path, target: Path, megabytes: int) -> Path:
    """A file of at least so many MB with the lines of `source` over and over."""
    text = source.read_bytes()
    text += b"" if text.endswith(b"\n") else b"\n"
    with open(target, "wb") as file:
        for _ in range(-(-megabytes * 10**6 // len(text))):
            file.write(text)
    return target


def measure_ours(corpus: Path, tokenizer: list[str], processes: int, label: str = "") -> Row:
    """The command that users run."""
    output = corpus.parent / "out"
    command = [sys.executable, "-m", "uer_ds", "preprocess", "--corpus_path", str(corpus), *tokenizer]
    options = ["--data_processor", "mlm", "--processes_num", str(processes), "--dataset_path", str(output)]
    return measured(f"uer-ds preprocess{label}, {processes} processes", corpus, [*command, *options], output)


def measure_library(name: str, corpus: Path, vocabulary: str) -> Row:
    """A library in this script's other role (see `CONTENDERS`)."""
    output = corpus.parent / "out"
    output.mkdir()
    command = [sys.executable, str(Path(__file__).resolve()), name, str(corpus), vocabulary, str(output / "ids.bin")]
    labels = {"tokenizers": "tokenizers, encode_batch_fast", "sentencepiece": "sentencepiece, encode (batch)"}
    return measured(labels[name], corpus, command, output)


def measured(name: str, corpus: Path, command: list[str], output: Path) -> Row:
    """Run it, print its line, remove what it wrote."""
    usage = run_measured([*command], {"PYTHONPATH": str(ROOT), "TOKENIZERS_PARALLELISM": "false"})
    written = sum(file.stat().st_size for file in output.rglob("*") if file.suffix in (".bin", ".idx"))
    shutil.rmtree(output)
    row = Row(name, corpus.stat().st_size / 1e6, written / 1e6, usage)
    print(row, flush=True)
    return row


def compare(ours: list[Row], processes: list[int], library: Row) -> None:
    """What the table says about the targets."""
    first = ours[0]
    print(f"a core: {first.speed / library.speed:.0f} x tokenizers")
    for number, row in zip(processes[1:], ours[1:], strict=True):
        print(
            f"{number} processes against {processes[0]}: {first.usage.seconds / row.usage.seconds:.2f} x as fast on the"
            f" clock, {busiest(first) / busiest(row):.2f} x by the CPU seconds of the busiest process,"
            f" {row.usage.cpu_seconds / first.usage.cpu_seconds:.2f} x the CPU seconds of all; memory of each:"
            f" {', '.join(f'{peak:.0f}' for peak in sorted(row.usage.peaks.values()))} MB"
        )


def busiest(row: Row) -> float:
    """CPU seconds of the process that worked most: what the command takes on cores that are free."""
    return max(row.usage.work.values())


def tokenizers(corpus: str, vocabulary: str, target: str) -> None:
    """The `tokenizers` library: read lines, encode_batch_fast, write ids."""
    from tokenizers import BertWordPieceTokenizer

    tokenizer = BertWordPieceTokenizer(vocabulary, lowercase=True)._tokenizer
    with open(target, "wb") as file:
        for lines in batches(corpus):
            for encoding in tokenizer.encode_batch_fast(lines, add_special_tokens=False):
                file.write(np.array(encoding.ids, np.uint16).tobytes())


def sentencepiece(corpus: str, vocabulary: str, target: str) -> None:
    """The `sentencepiece` library: read lines, encode a batch, write ids."""
    import sentencepiece

    model = sentencepiece.SentencePieceProcessor(model_file=vocabulary)
    with open(target, "wb") as file:
        for lines in batches(corpus):
            for ids in model.encode(lines, out_type=int, num_threads=1):
                file.write(np.array(ids, np.int32).tobytes())


CONTENDERS: dict[str, Callable[[str, str, str], None]] = {"tokenizers": tokenizers, "sentencepiece": sentencepiece}


def batches(corpus: str) -> Iterator[list[str]]:
    """The lines of a file, some thousand at a time."""
    with open(corpus, encoding="utf-8") as file:
        lines: list[str] = []
        for line in file:
            lines.append(line.rstrip("\n"))
            if len(lines) == LINES:
                yield lines
                lines = []
        yield lines


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in CONTENDERS:
        CONTENDERS[sys.argv[1]](*sys.argv[2:])
    else:
        main()
