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


def report(size: int, **works: Callable[[], int]) -> list[float]:
    """Print a line for each work and return MB/s; works take turns, so that a busy moment does not hit one alone."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    tokens = {}
    for name, work in [*works.items()] * 3:
        start = time.process_time()
        tokens[name] = work()
        seconds[name].append(time.process_time() - start)
    rates = []
    for name in works:
        best = min(seconds[name])
        rates.append(size / MEGABYTE / best)
        print(f"{name:24s} {rates[-1]:8.1f} MB/s {tokens[name] / best / 1e6:8.2f} M tokens/s", flush=True)
    return rates


def compare_wordpiece(vocab_path: str, text: NDArray[np.uint8], sample: NDArray[np.uint8]) -> None:
    from tokenizers import BertWordPieceTokenizer

    ours = load_tokenizer("bert", vocab_path=vocab_path)
    ours.encode("")  # compile, or load what was compiled, and build the tables
    theirs = BertWordPieceTokenizer(vocab_path)._tokenizer
    lines = lines_of(sample)

    def library() -> int:
        return sum(len(encoding.ids) for encoding in theirs.encode_batch_fast(lines, add_special_tokens=False))

    [our_rate] = report(len(text), wordpiece_ours=lambda: len(ours.encode_lines(text)[0]))
    [their_rate] = report(len(sample), wordpiece_tokenizers=library)
    print(f"  ours is {our_rate / their_rate:.0f} times as fast")


def compare_sentencepiece(model_path: str, sample: NDArray[np.uint8]) -> None:
    import sentencepiece

    lines = lines_of(sample)
    ours = load_tokenizer("bert", spm_model_path=model_path)
    library = sentencepiece.SentencePieceProcessor(model_file=model_path)
    our_rate, their_rate = report(
        len(sample),
        sentencepiece_ours=lambda: len(ours.encode_batch(lines)[0]),
        sentencepiece_library=lambda: sum(map(len, library.encode(lines, out_type=int, num_threads=1))),
    )
    print(f"  ours has {our_rate / their_rate:.0%} of its speed")


def lookup_and_building(corpus_path: str, vocab_path: str, text: NDArray[np.uint8]) -> None:
    char, space = (load_tokenizer(kind, vocab_path=vocab_path) for kind in ("char", "space"))
    report(len(text), char=lambda: len(char.encode_lines(text)[0]), space=lambda: len(space.encode_lines(text)[0]))
    size = Path(corpus_path).stat().st_size
    copies = [corpus_path] * -(-len(text) // size)
    report(
        size * len(copies),
        vocabulary_of_char=lambda: len(build_vocabulary(copies, "char")),
        vocabulary_of_space=lambda: len(build_vocabulary(copies, "space")),
        vocabulary_of_bert=lambda: len(build_vocabulary(copies, "bert")),
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
