"""How fast ready batches come out of the loader: tokens a second from one process, padding not counted.

    python bench/loader.py                            synthetic documents, 64 M tokens in 1 and in 64 shards
    python bench/loader.py --dataset_path corpus_zh   a dataset of yours
    python bench/loader.py --data_processor lm        another objective

Target: 5 million tokens a second of `mlm` batches at rows of 512 and of 128 tokens. `wall` counts seconds on the clock;
`cpu` counts those the processor worked, which is the one to compare on a busy machine (workers: over all threads).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch

from uer_ds.data.dataset import Dataset, open_dataset
from uer_ds.data.indexed import IndexedDatasetWriter
from uer_ds.data.loader import Loader
from uer_ds.data.manifest import Manifest, ShardRecord, TokenizerRecord
from uer_ds.data.sampler import Sampler
from uer_ds.objectives import RowOptions, build_objective
from uer_ds.registry import OBJECTIVES
from uer_ds.tokenizers.special import SpecialIds

TOKENS, MEAN_LENGTH, VOCAB_SIZE = 64 << 20, 400, 21228
SPECIAL = {"pad": 0, "unk": 100, "cls": 101, "sep": 102, "mask": 103, "sentinel": 21128}
SHAPES = ((512, 64), (128, 256), (128, 64))  # row length S, rows a batch B


def synthetic_dataset(folder: Path, shards: int) -> Dataset:
    """Documents of random ids; their lengths have the long tail of real text (gamma distribution)."""
    rng = np.random.default_rng(0)
    records = []
    for s in range(shards):
        name = f"shard-{s:05d}"
        lengths = 1 + rng.gamma(0.7, MEAN_LENGTH / 0.7, TOKENS // shards // MEAN_LENGTH).astype(np.int64)
        with IndexedDatasetWriter(folder / name, np.int16) as writer:
            offsets = np.concatenate([[0], np.cumsum(lengths)])
            writer.add_items(rng.integers(200, 21128, offsets[-1]).astype(np.int16), offsets)
            writer.end_documents(np.arange(1, len(offsets)))
        counts = (writer.documents, writer.items, writer.tokens)
        records.append(ShardRecord(name, *counts, 0, 0, malformed_examples=(), files=()))
    tokenizer = TokenizerRecord("", {}, "synthetic", VOCAB_SIZE, SPECIAL)
    Manifest("documents", "int16", tokenizer, None, shards=tuple(records)).write(folder)
    return open_dataset(folder)


def measure(loader: Loader, seconds: float) -> tuple[float, float]:
    """Million tokens per second of the clock and per second of the processor."""
    next(loader)
    tokens, began, worked = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - began < seconds:
        tokens += sum(batch.token_count() for batch in next(loader))
    return tokens / 1e6 / (time.perf_counter() - began), tokens / 1e6 / (time.process_time() - worked)


def report(dataset: Dataset, args: argparse.Namespace) -> Iterator[str]:
    """One line for each shape and number of workers."""
    record = dataset.manifest.tokenizer
    special = SpecialIds.of(record.special)
    for seq_length, rows in SHAPES:
        options = RowOptions(
            vocab_size=record.vocab_size, special=special, seq_length=seq_length, span_masking=args.span_masking
        )
        objective = build_objective(args.data_processor, dataset, options)
        for workers in (0, 1, 2):
            sampler = Sampler(len(objective), seed=7)
            with Loader(objective, sampler, 0, 1, rows, 1, workers=workers, prefetch=4) as loader:
                wall, cpu = measure(loader, args.seconds)
            shards = len(dataset.shards)
            yield f"{objective.spec.name:9} {shards:6} {seq_length:5} {rows:5} {workers:8} {wall:8.2f} {cpu:8.2f}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset_path", help="a dataset folder; default: synthetic documents")
    parser.add_argument("--data_processor", default="mlm", choices=list(OBJECTIVES))
    parser.add_argument("--span_masking", action="store_true", help="mask spans")
    parser.add_argument("--seconds", type=float, default=2.0, help="time for each line")
    args = parser.parse_args()
    torch.set_num_threads(1)
    print("objective shards     S     B  workers     wall      cpu   (million tokens/s, one process)")
    if args.dataset_path:
        print(*report(open_dataset(args.dataset_path), args), sep="\n")
        return
    for shards in (1, 64):
        with tempfile.TemporaryDirectory() as folder:
            for line in report(synthetic_dataset(Path(folder), shards), args):
                print(line, flush=True)


if __name__ == "__main__":
    main()
