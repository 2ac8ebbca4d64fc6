"""How fast text becomes ids: megabytes of UTF-8 a second on one core, ours beside the libraries.

    python bench/tokenizer_speed.py --corpus_path corpus.txt --vocab_path google_zh_vocab.txt \
        --spm_model_path cluecorpussmall_spm.model

The text is repeated in memory up to `--megabytes`; the libraries get `--library_megabytes` of it, because they take
their time. Seconds are those the processor worked, over all threads (best of three), so that a busy machine and a
library that uses every core are compared fairly. Targets: 150 MB/s for WordPiece on Chinese text; for sentencepiece 90
% of the library.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from numpy.typing import NDArray

from uer_ds.tokenizers import build_vocabulary, load_tokenizer

MEGABYTE = 1_000_000


def repeated(text: bytes, megabytes: int) -> NDArray[np.uint8]:
    """Whole copies of the text, at least `megabytes` of it."""
    copies = -(-megabytes * MEGABYTE // len(text))
    return np.frombuffer(text * copies, dtype=np.uint8)


def lines_of(text: NDArray[np.uint8]) -> list[str]:
    return text.tobytes().decode().split("\n")


def report(name: str, size: int, work: Callable[[], int]) -> float:
    """Print one line and return MB/s."""
    seconds = []
    for _ in range(3):
        start = time.process_time()
        tokens = work()
        seconds.append(time.process_time() - start)
    rate = size / MEGABYTE / min(seconds)
    print(f"{name:42s} {rate:8.1f} MB/s {tokens / min(seconds) / 1e6:8.2f} M tokens/s", flush=True)
    return rate


def compare_wordpiece(vocab_path: str, text: NDArray[np.uint8], sample: NDArray[np.uint8]) -> None:
    from tokenizers import BertWordPieceTokenizer

    ours = load_tokenizer("bert", vocab_path=vocab_path)
    ours.encode("")  # compile, or load what was compiled, and build the tables
    our_rate = report("WordPiece, ours", len(text), lambda: len(ours.encode_lines(text)[0]))
    theirs = BertWordPieceTokenizer(vocab_path)._tokenizer
    lines = lines_of(sample)
    their_rate = report(
        "WordPiece, tokenizers (encode_batch_fast)",
        len(sample),
        lambda: sum(len(e.ids) for e in theirs.encode_batch_fast(lines, add_special_tokens=False)),
    )
    print(f"  ours is {our_rate / their_rate:.0f} times as fast")


def compare_sentencepiece(model_path: str, sample: NDArray[np.uint8]) -> None:
    import sentencepiece

    lines = lines_of(sample)
    ours = load_tokenizer("bert", spm_model_path=model_path)
    library = sentencepiece.SentencePieceProcessor(model_file=model_path)
    our_rate = report("sentencepiece, ours", len(sample), lambda: len(ours.encode_batch(lines)[0]))
    their_rate = report(
        "sentencepiece, the library's batch encode",
        len(sample),
        lambda: sum(map(len, library.encode(lines, out_type=int, num_threads=1))),
    )
    print(f"  ours has {our_rate / their_rate:.0%} of its speed")


def lookup_and_building(corpus_path: str, vocab_path: str, text: NDArray[np.uint8]) -> None:
    for kind in ("char", "space"):
        tokenizer = load_tokenizer(kind, vocab_path=vocab_path)
        report(kind, len(text), lambda tokenizer=tokenizer: len(tokenizer.encode_lines(text)[0]))  # type: ignore[misc]
    size = Path(corpus_path).stat().st_size
    copies = [corpus_path] * -(-len(text) // size)
    for delimiter in ("char", "space", "bert"):
        report(
            f"vocabulary, delimiter {delimiter}",
            size * len(copies),
            lambda delimiter=delimiter: len(build_vocabulary(copies, delimiter)),  # type: ignore[misc]
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus_path", required=True)
    parser.add_argument("--vocab_path", required=True)
    parser.add_argument("--spm_model_path")
    parser.add_argument("--megabytes", type=int, default=50)
    parser.add_argument("--library_megabytes", type=int, default=6)
    args = parser.parse_args()
    corpus = Path(args.corpus_path).read_bytes()
    text, sample = repeated(corpus, args.megabytes), repeated(corpus, args.library_megabytes)
    compare_wordpiece(args.vocab_path, text, sample)
    if args.spm_model_path:
        compare_sentencepiece(args.spm_model_path, sample)
    lookup_and_building(args.corpus_path, args.vocab_path, text)


if __name__ == "__main__":
    main()
