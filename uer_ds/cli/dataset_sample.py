"""`uer-ds dataset sample`: some samples of any objective in words, as the model will see them.

A line of a sample is one document and segment of the row. A token with braces is one that the model must find, with the
answer in the braces: `[MASK]{天}` is masked, `地{天}` replaced, `天{天}` kept.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from uer_ds.cli.parser import add_config_options, given_values
from uer_ds.config.data import SamplingConfig
from uer_ds.errors import UserError
from uer_ds.registry import OBJECTIVES

if TYPE_CHECKING:
    from uer_ds.data.batch import Batch


def add_sample_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `sample`."""
    parser.add_argument("dataset", metavar="FOLDER")
    parser.add_argument("--data_processor", help="objective; default: the one given to preprocess")
    parser.add_argument("--count", type=int, default=3, metavar="N", help="samples to show (default: 3)")
    parser.add_argument("--samples", type=int, nargs="+", metavar="N", help="these samples, instead of the first")
    parser.add_argument("--epoch", type=int, default=0, metavar="N", help="as drawn in this epoch (default: 0)")
    parser.add_argument("--seed", type=int, default=7, help="seed of order and masking (default: 7)")
    add_config_options(parser, SamplingConfig, "samples (default: as given to preprocess)")


def sample(args: argparse.Namespace) -> None:
    """Print the first samples of an epoch, or those that were asked for."""
    from uer_ds.data.dataset import open_dataset
    from uer_ds.objectives import RowOptions, build_objective
    from uer_ds.objectives.options import sampling_values

    dataset = open_dataset(args.dataset)
    made_for = dict(dataset.manifest.sampling)
    name = OBJECTIVES.check(args.data_processor or made_for.pop("data_processor", "bert"), "--data_processor")
    sampling = SamplingConfig(**{**sampling_values(made_for), **given_values(args, SamplingConfig)})
    objective = build_objective(name, dataset, RowOptions.of(dataset, sampling, args.seed))
    numbers = chosen(args, len(objective))
    print("\n".join([f"{name}: {len(objective):,} samples in an epoch", *objective.notes]))
    if len(numbers):
        batch = objective.batch(np.full(len(numbers), args.epoch), numbers)
        source, target = (dataset.load_tokenizer(target=side).tokens for side in (False, True))
        for row, number in enumerate(numbers.tolist()):
            print(f"\nsample {number}")
            print("\n".join(sample_lines(batch, row, source, target)))


def chosen(args: argparse.Namespace, samples: int) -> NDArray[np.int64]:
    """The numbers of the samples to show, of `samples` in an epoch."""
    from uer_ds.data.permutation import permute

    if args.samples is None:
        return permute(np.arange(min(args.count, samples)), max(samples, 1), args.seed, args.epoch)
    for number in args.samples:
        if not 0 <= number < samples:
            raise UserError(f"--samples {number}: {args.dataset} has {samples:,} samples, numbered from 0.")
    return np.array(args.samples, dtype=np.int64)


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
