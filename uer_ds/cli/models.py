"""List the models that have a configuration: exact parameter counts, layers, width, vocabulary."""

from __future__ import annotations

import argparse

from uer_ds.config.model import ModelConfig, model_config_from_dict, read_json_object
from uer_ds.config.resources import find_json, resource_names

VOCABULARY = 21128
"""Entries of google_zh_vocab.txt, the vocabulary of the model zoo, for configurations that name none."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One option: another vocabulary size to count with."""
    parser.add_argument(
        "--vocab_size", type=int, default=VOCABULARY, help=f"entries to count with (default: {VOCABULARY})"
    )


def run(args: argparse.Namespace) -> int:
    """Print the table."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"--config_path NAME (counted with a vocabulary of {args.vocab_size:,})")
    for column in ("name", "encoder", "target"):
        table.add_column(column, no_wrap=True)
    for column in ("layers", "width", "parameters"):
        table.add_column(column, justify="right", no_wrap=True)
    for name in resource_names("models"):
        path = find_json("models", name, "models")
        config = model_config_from_dict(read_json_object(path), str(path))
        table.add_row(name.removesuffix("_config"), *describe(config), f"{count_parameters(config, args.vocab_size):,}")
    Console().print(table)
    return 0


def describe(config: ModelConfig) -> tuple[str, str, str, str]:
    """Encoder, target, layers and width as the table shows them; a dual model by its first stream."""
    inner = config.stream_0 or config
    layers = str(inner.layers_num) + (f" + {inner.decoder_layers}" if inner.decoder else "")
    return config.encoder, "+".join(config.target), layers, str(inner.hidden_size)


def count_parameters(config: ModelConfig, vocab_size: int) -> int:
    """The exact number of parameters, tied ones once, without allocating any."""
    import torch

    from uer_ds.models.model import build_model

    if config.vocab_size is None:
        config = config.replace(vocab_size=vocab_size)
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in build_model(config).parameters())
