"""How well a model foretells a text, by line and in all: `uer-ds perplexity --load_model_path MODEL --test_path FILE`.

For language models (of [SEP] too), and with --mlm for masked ones, whose every token is masked in turn
(pseudo-perplexity). Columns of the result: perplexity, tokens, text. What all tokens have together is said at the end.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import sys
from pathlib import Path

from uer_ds.cli.compat import modernise_finetune
from uer_ds.cli.opening import MODEL_GROUPS, source_of
from uer_ds.cli.parser import add_config_options, given_values
from uer_ds.config.tools import ToolPaths
from uer_ds.errors import UserError
from uer_ds.launch.place import find_place
from uer_ds.storage.disk import disk_errors

modernise = modernise_finetune


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Paths, model, tokenizer."""
    for title, group in {"paths": ToolPaths, **MODEL_GROUPS}.items():
        add_config_options(parser, group, title)
    parser.add_argument("--mlm", action="store_true", help="the model is a masked one (default: a language model)")


def run(args: argparse.Namespace) -> int:
    """Judge every line."""
    paths = ToolPaths(**given_values(args, ToolPaths))
    from uer_ds.engine import distributed  # torch and deepspeed: seconds
    from uer_ds.finetune.opening import Wanted, open_model
    from uer_ds.models.model import Model
    from uer_ds.tools.perplexity import judge
    from uer_ds.tools.rows import answered, read_lines

    with distributed.joined(find_place(os.environ)), contextlib.ExitStack() as files:
        files.enter_context(disk_errors())
        wanted = Wanted(("mlm",) if args.mlm else ("lm",))
        opened = open_model(source_of(args, str(paths.load_model_path), paths.config_path), wanted)
        assert isinstance(opened.model, Model)
        length = paths.seq_length
        if "pos" in opened.config.embedding:
            length = min(length, opened.config.max_seq_length)
        out = sys.stdout
        if paths.prediction_path:
            out = files.enter_context(Path(paths.prediction_path).open("w", encoding="utf-8"))
        judged = judge(opened.model, opened.tokenizer, paths.batch_size)
        lines = read_lines(Path(str(paths.test_path)))
        total, tokens, cut = 0.0, 0, 0
        print("perplexity\ttokens\ttext", file=out)
        for row, (loss, count) in answered(lines, opened.tokenizer, length, paths.batch_size, judged):
            total, tokens, cut = total + loss, tokens + count, cut + row.was_cut
            value = f"{math.exp(loss / count):.4f}" if count else "nan"
            print(f"{value}\t{count}\t{row.text}", file=out)
    if not tokens:
        raise UserError(f"{paths.test_path}: has no text.")
    said = f"; {cut:,} lines were cut at {length} tokens" if cut else ""
    print(f"{paths.test_path}: perplexity {math.exp(total / tokens):.4f} over {tokens:,} tokens{said}", file=sys.stderr)
    return 0
