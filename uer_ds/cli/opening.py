"""What commands that open a whole model share: its options, where it comes from, a tool's text and result."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from uer_ds.cli.parser import given_values, without_prefix
from uer_ds.config.data import TargetTokenizerConfig, TokenizerConfig
from uer_ds.config.model import ModelConfig
from uer_ds.config.tools import ToolPaths
from uer_ds.errors import UserError
from uer_ds.launch.place import Place, find_place
from uer_ds.storage.disk import disk_errors
from uer_ds.storage.lines import read_lines

if TYPE_CHECKING:
    from uer_ds.finetune.opening import Source
    from uer_ds.models.model import Model
    from uer_ds.tokenizers import Tokenizer

MODEL_GROUPS: dict[str, type] = {
    "model (over the values of --config_path)": ModelConfig,
    "tokenizer (default: the one beside the weights)": TokenizerConfig,
}


def source_of(args: argparse.Namespace, path: str, config_path: str | None) -> Source:
    """The weights `path`, the model JSON, and what `args` say over both."""
    from uer_ds.finetune.opening import Source  # torch: seconds

    own = given_values(args, TokenizerConfig)
    target = without_prefix(given_values(args, TargetTokenizerConfig), "tgt_")
    return Source(
        path,
        config_path,
        given_values(args, ModelConfig),
        TokenizerConfig(**own),
        bool(own),
        TokenizerConfig(**target),
        bool(target),
    )


@dataclass(frozen=True)
class Tool:
    """What a small tool works with: `seq_length` tokens a row at most."""

    model: Model
    tokenizer: Tokenizer
    lines: Iterator[str]
    seq_length: int


@contextmanager
def opened_tool(args: argparse.Namespace, paths: ToolPaths, *target: str) -> Iterator[Tool]:
    """A model with the heads `target` (none: only what reads), and the text, inside the `with` block.

    Raises UserError in a run of several processes: they would write the same file.
    """
    place = one_process()
    from uer_ds.engine import distributed  # torch and deepspeed: seconds
    from uer_ds.finetune.opening import Wanted, open_model
    from uer_ds.models.model import Model

    with distributed.joined(place), disk_errors():
        opened = open_model(source_of(args, str(paths.load_model_path), paths.config_path), Wanted(target))
        assert isinstance(opened.model, Model)
        for note in opened.notes:
            print(note, file=sys.stderr)
        limits = [paths.seq_length]
        if "pos" in opened.config.embedding:
            limits.append(opened.config.max_seq_length)
        lines = (line for _, line in read_lines(Path(str(paths.test_path))))
        yield Tool(opened.model, opened.tokenizer, lines, min(limits))


def one_process() -> Place:
    """This process's place. Raises UserError where a launcher has started several."""
    place = find_place(os.environ)
    if place.world_size > 1:
        raise UserError(f"{place.world_size} processes, but this command is for one; start it alone.")
    return place


@contextmanager
def text_result(path: str | None) -> Iterator[TextIO]:
    """The file, or the terminal."""
    if not path:
        yield sys.stdout
        return
    with disk_errors(), Path(path).open("w", encoding="utf-8") as file:
        yield file
