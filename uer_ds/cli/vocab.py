"""Build a vocabulary from text: reserved entries first, then the corpus's tokens, most frequent first."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uer_ds.cli.parser import add_config_options, given_values
from uer_ds.cli.vocab_tools import add_tools, run_tool
from uer_ds.config.options import Options, option
from uer_ds.errors import UserError
from uer_ds.tokenizers.vocabulary import RESERVED


@dataclass(frozen=True)
class VocabConfig(Options):
    """Options of `uer-ds vocab`."""

    corpus_path: tuple[str, ...] = option((), "UTF-8 text files")
    output_path: str | None = option(None, "the vocabulary file to write, one token a line")
    delimiter: str = option("char", "what a token is", ("char", "space", "bert"))
    workers_num: int = option(1, "worker processes", least=1)
    min_count: int = option(1, "tokens that occur less often are left out", least=1)
    do_lower_case: str = option("true", "bert: lower-case and strip accents", ("true", "false"))
    sentinels_num: int = option(
        0, "<extra_id_0>, <extra_id_1>, ... at the end, for the t5 objective; usual: 100", least=0
    )
    force: bool = option(False, "replace an existing vocabulary")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options, and the sub-commands for two vocabularies."""
    add_config_options(parser, VocabConfig, "vocabulary")
    add_tools(parser.add_subparsers(dest="action", metavar="adapt | diff", parser_class=type(parser)))


def run(args: argparse.Namespace) -> int:
    """Count and write, or what the sub-command says."""
    if args.action:
        return run_tool(args)
    from uer_ds.data.corpus import find_sources
    from uer_ds.tokenizers import build_vocabulary, write_vocabulary

    config = VocabConfig(**given_values(args, VocabConfig))
    for name in ("corpus_path", "output_path"):
        if not getattr(config, name):
            raise UserError(f"--{name} is missing; expected {VocabConfig.__dataclass_fields__[name].metadata['help']}.")
    assert config.output_path is not None
    check(config, Path(config.output_path))
    tokens = build_vocabulary(
        [plain_text(source) for source in find_sources(config.corpus_path)],
        delimiter=config.delimiter,
        min_count=config.min_count,
        workers=config.workers_num,
        do_lower_case=config.do_lower_case == "true",
        sentinels=config.sentinels_num,
    )
    write_vocabulary(tokens, config.output_path)
    print(f"{config.output_path}: {summary(tokens, config.sentinels_num)}")
    return 0


def check(config: VocabConfig, output: Path) -> None:
    """Refuse what would be lost or cannot be."""
    if output.exists() and not config.force:
        raise UserError(
            f"--output_path {output} exists already; another vocabulary would not fit the datasets and models made with"
            " it: choose another path, or give --force to replace it."
        )


def plain_text(source: Any) -> str:
    """The path of a file of the corpus (a `SourceFile`)."""
    if source.compression:
        raise UserError(f"--corpus_path {source.path} is compressed; unpack it first, a vocabulary needs plain text.")
    path: str = source.path
    return path


def summary(tokens: list[str], sentinels: int) -> str:
    """How many tokens there are, and of what kind."""
    reserved = len(RESERVED)
    unused = f"{RESERVED[1]} .. {RESERVED[99]}"
    words = f"{len(tokens):,} tokens: {reserved} reserved ({RESERVED[0]}, {unused}, {', '.join(RESERVED[100:])})"
    words += f", {len(tokens) - reserved - sentinels:,} from the text"
    return words + (f", {sentinels} sentinels ({tokens[-sentinels]} .. {tokens[-1]})" if sentinels else "")
