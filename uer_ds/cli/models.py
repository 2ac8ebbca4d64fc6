"""List the models that need no file of your own: exact parameter counts, layers, width, vocabulary."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Iterator

from uer_ds.config.resources import resource_names
from uer_ds.models.zoo import GRID, resolve_model

VOCABULARY = 21128
"""Entries of google_zh_vocab.txt, the vocabulary of the model zoo, for configurations that name none."""

HEAD = ("name", "parameters", "vocabulary", "layers", "width", "encoder", "target")
NUMBERS = frozenset({"parameters", "vocabulary", "layers", "width"})
"""Columns that end at the same place."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One option: another vocabulary size to count with."""
    parser.add_argument(
        "--vocab_size", type=int, default=VOCABULARY, help=f"entries to count with (default: {VOCABULARY})"
    )


def run(args: argparse.Namespace) -> int:
    """Print the table; a narrow terminal breaks its lines, but loses nothing."""
    for line in aligned([HEAD, *(row(name, args.vocab_size) for name in names())]):
        print(line)
    print("\n--model NAME or --config_path NAME; roberta_L-N_H-W exists for any N, and W a multiple of 64.")
    return 0


def names() -> list[str]:
    """Every name that `--model` knows without a file."""
    return [*(name.removesuffix("_config").removesuffix("/config") for name in resource_names("models")), *GRID]


def row(name: str, vocab_size: int) -> tuple[str, ...]:
    """One line of the table; a dual model is described by its first stream."""
    from uer_ds.models.model import build_shapes, count_parameters  # torch: seconds

    config = resolve_model(name)
    config = config if config.vocab_size else config.replace(vocab_size=vocab_size)
    inner = config.stream_0 or config
    layers = str(inner.layers_num) + (f"+{inner.decoder_layers}" if inner.decoder else "")
    parameters, vocabulary = f"{count_parameters(build_shapes(config)):,}", f"{config.vocab_size:,}"
    return name, parameters, vocabulary, layers, str(inner.hidden_size), config.encoder, "+".join(config.target)


def aligned(rows: list[tuple[str, ...]], numbers: Collection[str] = NUMBERS) -> Iterator[str]:
    """The rows as lines; the first one names the columns, of which `numbers` end at the same place."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for cells in rows:
        placed = zip(cells, rows[0], widths, strict=True)
        yield "  ".join(cell.rjust(w) if title in numbers else cell.ljust(w) for cell, title, w in placed).rstrip()
