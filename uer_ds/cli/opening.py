"""What commands that open a whole model share: its options, and where it comes from."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from uer_ds.cli.parser import given_values, without_prefix
from uer_ds.config.data import TargetTokenizerConfig, TokenizerConfig
from uer_ds.config.model import ModelConfig

if TYPE_CHECKING:
    from uer_ds.finetune.opening import Source

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
