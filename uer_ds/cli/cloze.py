"""Fill blanks: `uer-ds cloze --load_model_path MODEL --test_path FILE --topn 5`.

For masked language models. A line says where its blanks are with [MASK]; in one without, a token drawn by --seed is
taken out, and shown with the guesses (UER-py's way). The result has a block for each line, or an object for each line
where --prediction_path ends in .jsonl.
"""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from uer_ds.cli.compat import modernise_finetune
from uer_ds.cli.opening import MODEL_GROUPS, opened_tool, text_result
from uer_ds.cli.parser import add_config_options, given_values
from uer_ds.config.tools import ClozeConfig, ToolPaths

if TYPE_CHECKING:
    from uer_ds.tools.cloze import Blank

modernise = modernise_finetune


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Paths, guesses, model, tokenizer."""
    for title, group in {"paths": ToolPaths, "guesses": ClozeConfig, **MODEL_GROUPS}.items():
        add_config_options(parser, group, title)


def run(args: argparse.Namespace) -> int:
    """Fill every line's blanks."""
    paths = ToolPaths(**given_values(args, ToolPaths))
    wanted = ClozeConfig(**given_values(args, ClozeConfig))
    as_json = str(paths.prediction_path).endswith(".jsonl")
    with opened_tool(args, paths, "mlm") as tool, text_result(paths.prediction_path) as out:
        from uer_ds.tools.cloze import fill
        from uer_ds.tools.rows import answered

        answer = fill(tool.model, tool.tokenizer, wanted.topn, wanted.seed)
        rows = answered(tool.lines, tool.tokenizer, tool.seq_length, paths.batch_size, answer, blanks=True)
        for row, blanks in rows:
            print(_object(row.text, blanks) if as_json else _block(row.text, blanks), file=out)
    return 0


def _object(text: str, blanks: list[Blank]) -> str:
    values = [{"guesses": dict(blank.guesses), "answer": blank.answer} for blank in blanks]
    return json.dumps({"text": text, "blanks": values}, ensure_ascii=False)


def _block(text: str, blanks: list[Blank]) -> str:
    """UER-py's lines, an empty one behind them."""
    lines = [text]
    for blank in blanks:
        lines.append("Predicted answer: " + " ".join(token for token, _ in blank.guesses))
        if blank.answer is not None:
            lines.append(f"Correct answer: {blank.answer}")
    return "\n".join([*lines, ""])
