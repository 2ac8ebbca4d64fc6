"""`uer-ds dataset sample`: some samples of any objective in words, as the model will see them.

A line of a sample is one document and segment of the row. A token with braces is one that the model must find, with the
answer in the braces: `[MASK]{天}` is masked, `地{天}` replaced, `天{天}` kept.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from uer_ds.cli.parser import add_config_options, given_values
from uer_ds.cli.preprocess import SamplingConfig
from uer_ds.registry import OBJECTIVES

if TYPE_CHECKING:
    from uer_ds.data.batch import Batch
    from uer_ds.data.dataset import Dataset

MASKING = {"whole_word_masking": "whole_word", "span_masking": "span"}
"""Options -> what the objectives call them, where the names differ."""


def add_sample_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `sample`."""
    parser.add_argument("dataset", metavar="FOLDER")
    parser.add_argument("--data_processor", help="objective; default: the one given to preprocess")
    parser.add_argument("--count", type=int, default=3, metavar="N", help="samples to show (default: 3)")
    parser.add_argument("--epoch", type=int, default=0, metavar="N", help="as drawn in this epoch (default: 0)")
    parser.add_argument("--seed", type=int, default=7, help="seed of order and masking (default: 7)")
    parser.add_argument("--no_packing", action="store_true", help="one document a row with padding")
    add_config_options(parser, SamplingConfig, "samples (default: as given to preprocess)")


def sample(args: argparse.Namespace) -> None:
    """Print the first samples of an epoch."""
    from uer_ds.data.dataset import open_dataset
    from uer_ds.data.permutation import permute
    from uer_ds.objectives import build_objective

    dataset = open_dataset(args.dataset)
    options = {**dataset.manifest.sampling, **given_values(args, SamplingConfig)}
    name = OBJECTIVES.check(args.data_processor or options.pop("data_processor", "bert"), "--data_processor")
    objective = build_objective(name, dataset, {**_values(dataset, options), **_choices(args)})
    numbers = permute(np.arange(min(args.count, len(objective))), max(len(objective), 1), args.seed, args.epoch)
    print(f"{name}: {len(objective):,} samples in an epoch")
    if len(numbers):
        batch = objective.batch(np.full(len(numbers), args.epoch), numbers)
        source, target = (dataset.load_tokenizer(target=side).tokens for side in (False, True))
        for row, number in enumerate(numbers.tolist()):
            print(f"\nsample {number}")
            print("\n".join(sample_lines(batch, row, source, target)))


def _values(dataset: Dataset, sampling: dict[str, Any]) -> dict[str, Any]:
    tokenizer = dataset.load_tokenizer()
    return {
        "vocab_size": tokenizer.vocab_size,
        "special": tokenizer.special,
        "target_special": dataset.load_tokenizer(target=True).special,
        **{MASKING.get(key, key): value for key, value in sampling.items()},
    }


def _choices(args: argparse.Namespace) -> dict[str, Any]:
    return {"seed": args.seed, "packed": not args.no_packing}


def sample_lines(batch: Batch, row: int, source: Sequence[str], target: Sequence[str]) -> list[str]:
    """One row of a batch in words; `source` and `target` are tokens by id."""
    lines = side_lines(batch, row, source, "")
    decoder = batch.decoder
    if decoder is not None:
        lines += side_lines(decoder, row, target, "decoder ")
    for name, labels in batch.labels.items():
        if labels.dim() == 1:
            lines.append(f"  {name}: {int(labels[row])}")
        elif name != "mlm":
            answers = [(target if decoder is not None else source)[i] for i in labels[row].tolist() if i >= 0]
            lines.append(f"  {name} predicts {len(answers)}: {' '.join(answers)}")
    return lines


def side_lines(batch: Batch, row: int, tokens: Sequence[str], label: str) -> list[str]:
    """The runs of equal document and segment of one row, padding only counted."""
    ids, segments = batch.ids[row].tolist(), batch.segments[row].tolist()
    documents = batch.documents[row].tolist() if batch.documents is not None else [0] * len(ids)
    answers = batch.labels["mlm"][row].tolist() if "mlm" in batch.labels else [-1] * len(ids)
    lines = []
    for (document, segment), run in groupby(range(len(ids)), key=lambda i: (documents[i], segments[i])):
        positions = list(run)
        if segment == 0:
            lines.append(f"  {label}padding: {len(positions)}")
            continue
        words = [tokens[ids[i]] + (f"{{{tokens[answers[i]]}}}" if answers[i] >= 0 else "") for i in positions]
        lines.append(f"  {label}document {document}, segment {segment}: {' '.join(words)}")
    return lines
