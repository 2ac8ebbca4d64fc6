"""Fill blanks: `uer-ds cloze --load_model_path MODEL --test_path FILE --topn 5`.

For masked language models. A line says where its blanks are with [MASK]; in one without, a token drawn by --seed is
taken out, and shown with the guesses (UER-py's way). The result has a block for each line, or an object for each line
where --prediction_path ends in .jsonl.
"""

from __future__ import annotations

import argparse
import contextlib
import json
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
    """Paths, guesses, model, tokenizer."""
    for title, group in {"paths": ToolPaths, **MODEL_GROUPS}.items():
        add_config_options(parser, group, title)
    parser.add_argument("--topn", type=int, default=10, help="guesses for each blank (default: 10)")
    parser.add_argument("--seed", type=int, default=7, help="of the tokens that are taken out (default: 7)")


def run(args: argparse.Namespace) -> int:
    """Fill every line's blanks."""
    paths = ToolPaths(**given_values(args, ToolPaths))
    if args.topn < 1:
        raise UserError(f"--topn is {args.topn}; expected 1 or more.")
    from uer_ds.engine import distributed  # torch and deepspeed: seconds
    from uer_ds.finetune.opening import Wanted, open_model
    from uer_ds.models.model import Model
    from uer_ds.tools.cloze import fill
    from uer_ds.tools.rows import answered, read_lines

    with distributed.joined(find_place(os.environ)), contextlib.ExitStack() as files:
        files.enter_context(disk_errors())
        opened = open_model(source_of(args, str(paths.load_model_path), paths.config_path), Wanted(("mlm",)))
        assert isinstance(opened.model, Model)
        out, as_json = sys.stdout, str(paths.prediction_path).endswith(".jsonl")
        if paths.prediction_path:
            out = files.enter_context(Path(paths.prediction_path).open("w", encoding="utf-8"))
        answer = fill(opened.model, opened.tokenizer, args.topn, args.seed)
        lines = read_lines(Path(str(paths.test_path)))
        length = min(paths.seq_length, opened.config.max_seq_length)
        for row, blanks in answered(lines, opened.tokenizer, length, paths.batch_size, answer, blanks=True):
            if as_json:
                values = [{"guesses": dict(blank.guesses), "answer": blank.answer} for blank in blanks]
                print(json.dumps({"text": row.text, "blanks": values}, ensure_ascii=False), file=out)
                continue
            print(row.text, file=out)
            for blank in blanks:
                print("Predicted answer:", " ".join(token for token, _ in blank.guesses), file=out)
                if blank.answer is not None:
                    print("Correct answer:", blank.answer, file=out)
            print(file=out)
    return 0
