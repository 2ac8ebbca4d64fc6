"""Options of the small tools. Names are UER-py's where it has them."""

from __future__ import annotations

from dataclasses import dataclass

from uer_ds.config.options import Options, option
from uer_ds.errors import UserError


@dataclass(frozen=True)
class ModelPaths(Options):
    """The model."""

    load_model_path: str | None = option(None, "weights: UER .bin, safetensors, checkpoint or Hugging Face folder")
    config_path: str | None = option(None, "model JSON, or the name of one; default: the one beside the weights")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.need("load_model_path")

    def need(self, name: str) -> None:
        """Raise UserError where an option was not given."""
        if not getattr(self, name):
            raise UserError(f"--{name} is missing.")


@dataclass(frozen=True)
class ToolPaths(ModelPaths):
    """Model, text, results."""

    test_path: str | None = option(None, "text, one line each")
    prediction_path: str | None = option(None, "result file; default: the terminal")
    batch_size: int = option(32, "rows that the model reads at a time", least=1)
    seq_length: int = option(128, "longest row in tokens", least=3)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.need("test_path")


@dataclass(frozen=True)
class WordPaths(ModelPaths):
    """Model and table of words."""

    word_embedding_path: str | None = option(None, "result: .npy (words beside it in .txt), else word2vec's text")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.need("word_embedding_path")


@dataclass(frozen=True)
class FeatureConfig(Options):
    """What happens to the vectors."""

    whitening_size: int | None = option(
        None, "whiten the vectors and keep so many directions; default: as they are", least=1
    )
    whitening_output: str | None = option(None, "write the whitening that was found here (.npz), for other texts")
    whitening_input: str | None = option(None, "whiten with this one instead of finding one in the text")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.whitening_input and (self.whitening_size or self.whitening_output):
            raise UserError("--whitening_input is whole; leave out --whitening_size and --whitening_output.")
        if self.whitening_output and not self.whitening_size:
            raise UserError("--whitening_output needs --whitening_size, which says how many directions to keep.")


@dataclass(frozen=True)
class ClozeConfig(Options):
    """What is said about blanks."""

    topn: int = option(10, "guesses for each blank", least=1)
    seed: int = option(7, "of the tokens that are taken out")


@dataclass(frozen=True)
class NeighbourConfig(Options):
    """What may be a neighbour, and how many are said."""

    topn: int = option(15, "neighbours of each word", least=1)
    cand_vocab_path: str | None = option(None, "the only words that may be neighbours; default: the vocabulary")
