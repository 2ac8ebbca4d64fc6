"""Turn text into a dataset folder: token ids in shards, made once, read by every objective.

Masks, pairs and row lengths are drawn when samples are read, so options about them are only kept as defaults for
`uer-ds pretrain`. The same command again goes on where it stopped, or says that the dataset is finished.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from uer_ds.cli.compat import modernise_preprocess, say_modern_form
from uer_ds.cli.parser import add_config_options, given_values
from uer_ds.cli.progress import ProgressBar, table
from uer_ds.config.options import option
from uer_ds.config.run import TokenizerConfig
from uer_ds.errors import UserError
from uer_ds.registry import OBJECTIVES

RULES = {
    **dict.fromkeys(("bert", "albert", "gsg", "bart"), "blank_line"),
    **dict.fromkeys(("mlm", "lm", "t5", "bilm"), "line"),
}
"""`--data_processor` -> how UER-py's corpora for it look (`uer_ds.data.shards.RULES`)."""


@dataclass(frozen=True)
class CorpusConfig:
    """What is read and what is written."""

    corpus_path: tuple[str, ...] = option((), "text files, folders or patterns such as 'data/*.txt'")
    corpus_format: str | None = option(None, "format of the text; default: by file ending", ("txt", "jsonl", "parquet"))
    dataset_path: str = option("dataset.pt", "the dataset folder to write")
    data_processor: str = option("bert", "objective; decides how the text is read", OBJECTIVES)
    processes_num: int = option(1, "worker processes")
    shards: int | None = option(None, "number of shards; default: one a process, more above 1 GiB of text each")


@dataclass(frozen=True)
class SamplingConfig:
    """Kept in the dataset as defaults for training; the shards do not depend on it."""

    seq_length: int = option(128, "tokens a row")
    tgt_seq_length: int = option(128, "target tokens a row")
    short_seq_prob: float = option(0.1, "bert, albert: share of shorter sequences")
    whole_word_masking: bool = option(False, "mask all pieces of a word together")
    span_masking: bool = option(False, "mask spans of tokens")
    span_geo_prob: float = option(0.2, "parameter of the geometric distribution of span lengths")
    span_max_length: int = option(10, "longest span in tokens")
    sentence_selection_strategy: str = option("lead", "gsg: which sentences are the target", ("lead", "random"))


OBSOLETE = {
    "dup_factor": "masks are drawn anew each time a row is read, so no copies are stored",
    "docs_buffer_size": "documents are read from the file as they are needed",
    "seed": "nothing random happens before training",
    "dynamic_masking": "masking is always dynamic",
    "full_sentences": "training packs documents into full rows unless it is given --no_packing",
}
"""UER-py's options that have become meaningless, and what happens instead."""


def rewrite_arguments(arguments: list[str]) -> list[str]:
    """Accept the model zoo page's older spelling `--target X`."""
    modern = modernise_preprocess(arguments)
    line = say_modern_form("preprocess", arguments, modern)
    if line:
        print(line, file=sys.stderr)
    return modern


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_config_options(parser, CorpusConfig, "corpus and dataset")
    add_config_options(parser, TokenizerConfig, "tokenizer")
    add_config_options(parser, SamplingConfig, "samples (defaults for training)")
    old = parser.add_argument_group("accepted for UER-py's command lines, without effect")
    for name, reason in OBSOLETE.items():
        kind: dict[str, Any] = {"type": int, "metavar": "INT"}
        if name in ("dynamic_masking", "full_sentences"):
            kind = {"action": "store_true"}
        old.add_argument(f"--{name}", default=argparse.SUPPRESS, help=reason, **kind)


def run(args: argparse.Namespace) -> int:
    """Build the dataset and say what it holds."""
    from uer_ds.data.shards import BuildSpec, build_dataset

    config = CorpusConfig(**given_values(args, CorpusConfig))
    check(config)
    for name in [name for name in OBSOLETE if hasattr(args, name)]:
        print(f"--{name} has no effect: {OBSOLETE[name]}.", file=sys.stderr)
    spec = BuildSpec(
        corpus=config.corpus_path,
        output=Path(config.dataset_path),
        tokenizer=make_tokenizer(given_values(args, TokenizerConfig)),
        rule=RULES[config.data_processor],
        corpus_format=config.corpus_format,
        shards=config.shards,
        processes=config.processes_num,
        sampling={"data_processor": config.data_processor, **sampling_defaults(args)},
        command=("uer-ds", "preprocess", *args.arguments),
    )
    with ProgressBar("preprocess") as progress:
        manifest = build_dataset(spec, progress)
    print(table([("dataset", config.dataset_path), *summary(manifest), *progress.speed()]))
    return 0


def check(config: CorpusConfig) -> None:
    """Refuse what no dataset can be made from."""
    if not config.corpus_path:
        raise UserError("--corpus_path is missing; name the text files, folders or patterns to read.")
    for name in ("processes_num", "shards"):
        value = getattr(config, name)
        if value is not None and value < 1:
            raise UserError(f"--{name} is {value}; expected a positive integer.")


def make_tokenizer(options: dict[str, Any]) -> Any:
    """The tokenizer of the command line (values that were given only)."""
    from uer_ds.tokenizers import load_tokenizer

    return load_tokenizer(**{**options, "do_lower_case": options.get("do_lower_case", "true") == "true"})


def sampling_defaults(args: argparse.Namespace) -> dict[str, Any]:
    """The options of `SamplingConfig` that were given, and the row lengths always."""
    config = SamplingConfig(**given_values(args, SamplingConfig))
    always = {"seq_length", "tgt_seq_length"}
    return {f.name: getattr(config, f.name) for f in fields(config) if f.name in always or hasattr(args, f.name)}


def summary(manifest: Any) -> list[tuple[str, Any]]:
    """What a dataset holds, for `table`."""
    rows = [("layout", f"{manifest.layout} ({manifest.preparation})")]
    rows += [(name, manifest.totals[name]) for name in ("documents", "items", "tokens")]
    left_out = {"empty lines left out": "empty_documents", "malformed lines left out": "malformed_lines"}
    rows += [(words, manifest.totals[name]) for words, name in left_out.items() if manifest.totals[name]]
    size = sum(file.bytes for shard in manifest.shards for file in shard.files) / 1e6
    text = sum(source.bytes for source in manifest.sources) / 1e6
    return [
        *rows,
        ("shards", f"{len(manifest.shards)}, {size:,.1f} MB ({size / text:.0%} of the corpus's {text:,.1f} MB)"),
    ]
