"""Options of the small tools. Names are UER-py's where it has them."""

from __future__ import annotations

from dataclasses import dataclass

from uer_ds.config.options import option
from uer_ds.errors import UserError


@dataclass(frozen=True)
class ToolPaths:
    """Model, text, results."""

    load_model_path: str | None = option(None, "weights: UER .bin, safetensors, checkpoint or Hugging Face folder")
    config_path: str | None = option(None, "model JSON, or the name of one; default: the one beside the weights")
    test_path: str | None = option(None, "text, one line each")
    prediction_path: str | None = option(None, "result file; default: the terminal")
    batch_size: int = option(32, "rows that the model reads at a time")
    seq_length: int = option(128, "longest row in tokens")

    def __post_init__(self) -> None:
        for name in ("load_model_path", "test_path"):
            if not getattr(self, name):
                raise UserError(f"--{name} is missing.")
        for name, least in (("batch_size", 1), ("seq_length", 3)):
            if getattr(self, name) < least:
                raise UserError(f"--{name} is {getattr(self, name)}; expected {least} or more.")
