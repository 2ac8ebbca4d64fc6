"""How well a model foretells a text, by line and in all: `uer-ds perplexity --load_model_path MODEL --test_path FILE`.

For language models (of [SEP] too), and with --mlm for masked ones, whose every token is masked in turn
(pseudo-perplexity). Columns of the result: perplexity, tokens, text. What all tokens have together is said at the end.
"""

from __future__ import annotations

import argparse
import math
import sys

from uer_ds.cli.compat import modernise_finetune
from uer_ds.cli.opening import MODEL_GROUPS, opened_tool, text_result
from uer_ds.cli.parser import add_config_options, given_values
from uer_ds.config.tools import ToolPaths
from uer_ds.errors import UserError

modernise = modernise_finetune


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Paths, model, tokenizer."""
    for title, group in {"paths": ToolPaths, **MODEL_GROUPS}.items():
        add_config_options(parser, group, title)
    parser.add_argument("--mlm", action="store_true", help="the model is a masked one (default: a language model)")


def run(args: argparse.Namespace) -> int:
    """Judge every line."""
    paths = ToolPaths(**given_values(args, ToolPaths))
    total, tokens, cut = 0.0, 0, 0
    with opened_tool(args, paths, "mlm" if args.mlm else "lm") as tool, text_result(paths.prediction_path) as out:
        from uer_ds.tools.perplexity import judge
        from uer_ds.tools.rows import answered

        judged = judge(tool.model, tool.tokenizer, paths.batch_size)
        print("perplexity\ttokens\ttext", file=out)
        rows = answered(tool.lines, tool.tokenizer, tool.seq_length, paths.batch_size, judged)
        for row, (loss, count) in rows:
            total, tokens, cut = total + loss, tokens + count, cut + row.was_cut
            value = f"{math.exp(loss / count):.4f}" if count else "nan"
            print(f"{value}\t{count}\t{row.text}", file=out)
    if not tokens:
        raise UserError(f"{paths.test_path}: has no text.")
    said = f"; {cut:,} lines were cut at {tool.seq_length} tokens" if cut else ""
    print(f"{paths.test_path}: perplexity {math.exp(total / tokens):.4f} over {tokens:,} tokens{said}", file=sys.stderr)
    return 0
