"""The nearest words: `uer-ds neighbours --load_model_path MODEL --test_path words.txt --topn 15`.

A line with a word asks for the rows of the word table with the greatest cosine. A line `word TAB text` asks in a
context: what the model makes of the word at its first place in the text, against what it makes of each candidate there.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from uer_ds.cli.compat import modernise_finetune
from uer_ds.cli.opening import MODEL_GROUPS, opened_tool, text_result
from uer_ds.cli.parser import add_config_options, given_values
from uer_ds.config.tools import NeighbourConfig, ToolPaths

modernise = modernise_finetune


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Paths, candidates, model, tokenizer."""
    for title, group in {"paths": ToolPaths, "neighbours": NeighbourConfig, **MODEL_GROUPS}.items():
        add_config_options(parser, group, title)


def run(args: argparse.Namespace) -> int:
    """Say every word's neighbours."""
    paths = ToolPaths(**given_values(args, ToolPaths))
    wanted = NeighbourConfig(**given_values(args, NeighbourConfig))
    with opened_tool(args, paths) as tool, text_result(paths.prediction_path) as out:
        from uer_ds.tools.words import candidates_of, nearest_in_context, nearest_in_table, read_asked, word_table

        model, tokenizer = tool.model, tool.tokenizer
        tokenizer.require("cls", "sep")
        table = word_table(dict(model.state_dict()))
        candidates = candidates_of(tokenizer, Path(wanted.cand_vocab_path) if wanted.cand_vocab_path else None)
        for number, line in enumerate(tool.lines, start=1):
            asked = read_asked(line, f"{paths.test_path}: text {number}", tokenizer, tool.seq_length)
            print(f"Target word: {asked.word}" + (f"\t{asked.context}" if asked.context else ""), file=out)
            if asked.context is None:
                found = nearest_in_table(table, asked, candidates, tokenizer.tokens, wanted.topn)
            else:
                found = nearest_in_context(model, tokenizer, asked, candidates, wanted.topn, paths.batch_size)
            for word, cosine in found:
                print(f"{word}\t{cosine:.4f}", file=out)
            print(file=out)
    return 0
