"""Build a vocabulary from text: reserved entries first, then the corpus's tokens, most frequent first."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from uer_ds.cli.parser import add_config_options, given_values
from uer_ds.cli.vocab_tools import add_tools, run_tool
from uer_ds.config.options import option
from uer_ds.errors import UserError


@dataclass(frozen=True)
class VocabConfig:
    """Options of `uer-ds vocab`."""

    corpus_path: tuple[str, ...] = option((), "UTF-8 text files")
    output_path: str | None = option(None, "the vocabulary file to write, one token a line")
    delimiter: str = option("char", "what a token is", ("char", "space", "bert"))
    workers_num: int = option(1, "worker processes")
    min_count: int = option(1, "tokens that occur less often are left out")
    do_lower_case: str = option("true", "bert: lower-case and strip accents", ("true", "false"))


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
    tokens = build_vocabulary(
        [source.path for source in find_sources(config.corpus_path, "txt")],
        delimiter=config.delimiter,
        min_count=config.min_count,
        workers=config.workers_num,
        do_lower_case=config.do_lower_case == "true",
    )
    write_vocabulary(tokens, config.output_path)
    print(f"{config.output_path}: {len(tokens):,} tokens")
    return 0
