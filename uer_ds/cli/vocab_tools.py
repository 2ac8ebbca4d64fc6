"""`uer-ds vocab adapt` and `uer-ds vocab diff`: what can be done with two vocabularies.

uer-ds vocab adapt --old_model_path m.bin --old_vocab_path old.txt --new_vocab_path new.txt --new_model_path n.bin
uer-ds vocab diff models/google_zh_vocab.txt models/google_zh_poem_vocab.txt
"""

from __future__ import annotations

import argparse
from typing import Any

from uer_ds.errors import UserError

SHOWN = 10


def add_tools(commands: Any) -> None:
    """Declare both sub-commands; long option names are UER-py's."""
    adapt = commands.add_parser("adapt", help="a model for another vocabulary: rows are reused by token")
    for name, text in (
        ("old_model_path", "the model: a UER file or one of our checkpoint folders"),
        ("old_vocab_path", "its vocabulary"),
        ("new_vocab_path", "the other vocabulary"),
        ("new_model_path", "the model to write: .bin, .safetensors or a folder"),
    ):
        adapt.add_argument(f"--{name}", required=True, metavar="PATH", help=text)
    adapt.add_argument("--force", action="store_true", help="replace an existing output")
    diff = commands.add_parser("diff", help="tokens that only one of two vocabularies has")
    diff.add_argument("vocabularies", nargs="*", metavar="FILE", help="two vocabulary files")
    diff.add_argument("--vocab_1", metavar="PATH", help="UER-py's name of the first")
    diff.add_argument("--vocab_2", metavar="PATH", help="UER-py's name of the second")


def run_tool(args: argparse.Namespace) -> int:
    """Do what was asked."""
    return {"adapt": adapt_model, "diff": show_difference}[args.action](args)


def adapt_model(args: argparse.Namespace) -> int:
    """`adapt`"""
    from uer_ds.convert.vocabulary import adapt_vocabulary
    from uer_ds.tokenizers import Vocabulary

    old, new = Vocabulary.read(args.old_vocab_path), Vocabulary.read(args.new_vocab_path)
    done = adapt_vocabulary(args.old_model_path, old, new, args.new_model_path, args.force)
    print(f"{args.new_model_path}: {done.kept:,} rows taken over, {done.new:,} new, in {', '.join(done.tensors)}")
    return 0


def show_difference(args: argparse.Namespace) -> int:
    """`diff`"""
    from uer_ds.tokenizers import Vocabulary
    from uer_ds.tokenizers.difference import compare_vocabularies

    paths = [*args.vocabularies, *filter(None, (args.vocab_1, args.vocab_2))]
    if len(paths) != 2:
        raise UserError(f"{len(paths)} vocabularies were given; expected two files.")
    first, second = map(Vocabulary.read, paths)
    found = compare_vocabularies(first, second)
    for path, vocabulary, only in ((paths[0], first, found.first_only), (paths[1], second, found.second_only)):
        more = f" and {len(only) - SHOWN:,} more" if len(only) > SHOWN else ""
        shown = f": {' '.join(only[:SHOWN])}{more}" if only else ""
        print(f"{path}: {len(vocabulary):,} tokens, {len(only):,} of them only here{shown}")
    print(f"{found.common:,} tokens in both, {found.moved:,} of them with another id")
    return 0
