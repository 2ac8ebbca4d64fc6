"""Vectors of sentences:
`uer-ds features --load_model_path MODEL --test_path FILE --prediction_path vectors.npy --pooling mean`.

One vector for each line that has text, [CLS] first and [SEP] last. .npy holds the numbers [lines, width]; .parquet the
texts too; .pt is UER-py's tensor.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from uer_ds.cli.compat import modernise_finetune
from uer_ds.cli.opening import MODEL_GROUPS, opened_tool
from uer_ds.cli.parser import add_config_options, given_values
from uer_ds.config.tools import FeatureConfig, ToolPaths
from uer_ds.errors import UserError

if TYPE_CHECKING:
    from uer_ds.tools.features import Whitening
    from uer_ds.tools.vectors import Growing

modernise = modernise_finetune

SUFFIXES = (".npy", ".parquet", ".pt")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Paths, whitening, model, tokenizer."""
    for title, group in {"paths": ToolPaths, "whitening": FeatureConfig, **MODEL_GROUPS}.items():
        add_config_options(parser, group, title)


def run(args: argparse.Namespace) -> int:
    """Turn every line into a vector."""
    paths = ToolPaths(**given_values(args, ToolPaths))
    wanted = FeatureConfig(**given_values(args, FeatureConfig))
    output = Path(str(paths.prediction_path))
    if output.suffix not in SUFFIXES:
        raise UserError(f"--prediction_path is {output}; expected a file that ends in {', '.join(SUFFIXES)}.")
    with opened_tool(args, paths) as tool:
        from uer_ds.tools.features import sentence_vectors
        from uer_ds.tools.rows import answered
        from uer_ds.tools.vectors import Growing, scratch_folder, write_vectors

        scratch = scratch_folder(output)
        try:
            vectors = sentence_vectors(tool.model)
            with closing(Growing(scratch)) as found:
                for row, vector in answered(tool.lines, tool.tokenizer, tool.seq_length, paths.batch_size, vectors):
                    found.append(row.text, vector)
            if not found.count:
                raise UserError(f"{paths.test_path}: has no text.")
            white = _whitening(found, wanted)
            blocks = (white(block) if white else block for block in found.blocks())
            width = white.directions.shape[1] if white else found.width
            write_vectors(output, blocks, found.count, width, found.texts())
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        pooling = tool.model.config.pooling
    print(f"{output}: {found.count:,} vectors of {width} numbers (pooling {pooling})", file=sys.stderr)
    return 0


def _whitening(found: Growing, wanted: FeatureConfig) -> Whitening | None:
    from uer_ds.tools.features import Whitening

    if wanted.whitening_input:
        return Whitening.load(Path(wanted.whitening_input), found.width)
    if not wanted.whitening_size:
        return None
    white = Whitening.fit(found.blocks(), wanted.whitening_size)
    if wanted.whitening_output:
        white.save(Path(wanted.whitening_output))
    return white
