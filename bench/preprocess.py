"""Text to ids on disk: ours beside `tokenizers` and `sentencepiece`, on the same text, in one run.

    python bench/preprocess.py --corpus_path corpus.txt --vocab_path google_zh_vocab.txt \
        --spm_model_path cluecorpussmall_spm.model --megabytes 200 --processes 1 2

Every contender reads the file, makes ids and writes them, in a process of its own with one thread. Start-up (tables,
vocabulary, compiled code from the cache) is not counted. MB are 10^6 bytes of text; "a core" divides by the CPU time of
the process, so that the figures hold on a busy machine too; peak memory is the process's high-water mark.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

LINES = 10_000
"""Lines in a batch for the libraries."""


@dataclass(frozen=True)
class Result:
    """What one contender needed."""

    name: str
    wall_seconds: float
    cpu_seconds: float
    peak_mb: float
    written_mb: float


@dataclass(frozen=True)
class Setting:
    """What all contenders get."""

    corpus: Path
    folder: Path
    vocab_path: str
    spm_model_path: str | None


def main() -> None:
    """Run the contenders one after the other and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus_path", required=True, help="UTF-8 text, one document a line")
    parser.add_argument("--vocab_path", required=True, help="WordPiece vocabulary")
    parser.add_argument("--spm_model_path", help="sentencepiece model; without it sentencepiece does not take part")
    parser.add_argument("--megabytes", type=int, default=200, help="repeat the text up to this size (default: 200)")
    parser.add_argument("--library_megabytes", type=int, default=10, help="the libraries' share of it (default: 10)")
    parser.add_argument("--processes", type=int, nargs="*", default=[1, 2], help="ours with so many workers")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        whole = repeat(Path(args.corpus_path), Path(folder) / "whole.txt", args.megabytes)
        part = repeat(Path(args.corpus_path), Path(folder) / "part.txt", args.library_megabytes)
        ours = Setting(whole, Path(folder), args.vocab_path, None)
        theirs = Setting(part, Path(folder), args.vocab_path, args.spm_model_path)
        show_single(measure(run_ours, ours), whole)
        show_single(measure(run_tokenizers, theirs), part)
        if args.spm_model_path:
            show_single(measure(run_sentencepiece, theirs), part)
            show_single(measure(run_our_sentencepiece, theirs), part)
        for processes in args.processes:
            show_parallel(ours, processes)


def repeat(source: Path, target: Path, megabytes: int) -> Path:
    """A file of at least so many MB with the lines of `source` over and over."""
    text = source.read_bytes()
    text += b"" if text.endswith(b"\n") else b"\n"
    with open(target, "wb") as file:
        for _ in range(-(-megabytes * 10**6 // len(text))):
            file.write(text)
    return target


def measure(run: Callable[[Setting], Iterator[str]], setting: Setting) -> Result:
    """Run a contender in a fresh process."""
    context = multiprocessing.get_context("spawn")
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_measured, args=(run, setting, sender))
    process.start()
    sender.close()
    result: Result = receiver.recv()
    process.join()
    return result


def _measured(run: Callable[[Setting], Iterator[str]], setting: Setting, sender: Any) -> None:
    """A contender yields its name when it is warm, then works, and leaves `out` in the folder."""
    output = setting.folder / "out"
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir()
    work = run(setting)
    name = next(work)
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in work:
        pass
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    written = sum(file.stat().st_size for file in output.rglob("*") if file.suffix in (".bin", ".idx"))
    sender.send(Result(name, wall, cpu, peak_megabytes(), written / 1e6))


def peak_megabytes() -> float:
    """The high-water mark of this process's memory."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1e3


def run_ours(setting: Setting) -> Iterator[str]:
    """uer-ds preprocess, one process."""
    from uer_ds.tokenizers import load_tokenizer

    yield from _build(setting, load_tokenizer("bert", vocab_path=setting.vocab_path), "uer_ds, bert")


def run_our_sentencepiece(setting: Setting) -> Iterator[str]:
    """The same over a sentencepiece model."""
    from uer_ds.tokenizers import load_tokenizer

    tokenizer = load_tokenizer("bert", spm_model_path=setting.spm_model_path)
    yield from _build(setting, tokenizer, "uer_ds, sentencepiece model")


def _build(setting: Setting, tokenizer: Any, name: str, processes: int = 1) -> Iterator[str]:
    from uer_ds.data.shards import BuildSpec, build_dataset

    tokenizer.encode("今天 warm")
    yield name
    build_dataset(BuildSpec((str(setting.corpus),), setting.folder / "out", tokenizer, processes=processes))


def run_tokenizers(setting: Setting) -> Iterator[str]:
    """The `tokenizers` library: read lines, encode_batch_fast, write ids."""
    from tokenizers import BertWordPieceTokenizer

    tokenizer = BertWordPieceTokenizer(setting.vocab_path, lowercase=True)._tokenizer
    yield "tokenizers, encode_batch_fast"
    with open(setting.folder / "out" / "ids.bin", "wb") as file:
        for lines in batches(setting.corpus):
            for encoding in tokenizer.encode_batch_fast(lines, add_special_tokens=False):
                file.write(np.array(encoding.ids, np.uint16).tobytes())


def run_sentencepiece(setting: Setting) -> Iterator[str]:
    """The `sentencepiece` library: read lines, encode a batch, write ids."""
    import sentencepiece

    model = sentencepiece.SentencePieceProcessor(model_file=setting.spm_model_path)
    yield "sentencepiece, encode (batch)"
    with open(setting.folder / "out" / "ids.bin", "wb") as file:
        for lines in batches(setting.corpus):
            for ids in model.encode(lines, out_type=int, num_threads=1):
                file.write(np.array(ids, np.int32).tobytes())


def batches(corpus: Path) -> Iterator[list[str]]:
    """The lines of a file, some thousand at a time."""
    with open(corpus, encoding="utf-8") as file:
        lines: list[str] = []
        for line in file:
            lines.append(line.rstrip("\n"))
            if len(lines) == LINES:
                yield lines
                lines = []
        yield lines


def show_single(result: Result, corpus: Path) -> None:
    """One line of the table."""
    text_mb = corpus.stat().st_size / 1e6
    print(
        f"{result.name:30} {text_mb:7.1f} MB  {text_mb / result.cpu_seconds:7.1f} MB/s a core"
        f"  {text_mb / result.wall_seconds:7.1f} MB/s elapsed  peak {result.peak_mb:5.0f} MB"
        f"  output {result.written_mb / text_mb:4.0%} of the text",
        flush=True,
    )


def show_parallel(setting: Setting, processes: int) -> None:
    """Ours with several workers; the time includes starting them."""
    from uer_ds.tokenizers import load_tokenizer

    shutil.rmtree(setting.folder / "out", ignore_errors=True)
    tokenizer = load_tokenizer("bert", vocab_path=setting.vocab_path)
    work = _build(setting, tokenizer, f"uer_ds, {processes} processes", processes)
    name = next(work)
    started = time.perf_counter()
    for _ in work:
        pass
    text_mb = setting.corpus.stat().st_size / 1e6
    print(f"{name:30} {text_mb:7.1f} MB  {text_mb / (time.perf_counter() - started):7.1f} MB/s elapsed", flush=True)


if __name__ == "__main__":
    main()
