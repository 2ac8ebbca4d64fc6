"""Write a model's word vectors: `uer-ds embeddings --load_model_path MODEL --word_embedding_path words.txt`.

As word2vec's text (a line with rows and width, then a word and its numbers a line), or with the ending .npy as
numbers [vocabulary, width] with the words, a line each, in a .txt beside them. Only the table is read.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from uer_ds.cli.compat import modernise_finetune
from uer_ds.cli.opening import MODEL_GROUPS, one_process, source_of
from uer_ds.cli.parser import add_config_options, given_values
from uer_ds.config.tools import WordPaths
from uer_ds.storage.disk import disk_errors

modernise = modernise_finetune


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Paths, model, tokenizer."""
    for title, group in {"paths": WordPaths, **MODEL_GROUPS}.items():
        add_config_options(parser, group, title)


def run(args: argparse.Namespace) -> int:
    """Write the table."""
    paths = WordPaths(**given_values(args, WordPaths))
    one_process()
    from uer_ds.finetune.opening import Wanted, open_weights
    from uer_ds.tools.words import word_table, write_words

    with disk_errors():
        start = open_weights(source_of(args, str(paths.load_model_path), paths.config_path), Wanted())
        table = word_table(start.source)
        strange = write_words(Path(str(paths.word_embedding_path)), table, start.tokenizer.tokens)
    said = f"; blanks in {strange} of them became U+2581" if strange else ""
    print(f"{paths.word_embedding_path}: {len(table):,} words of {table.size(1)} numbers{said}", file=sys.stderr)
    return 0
