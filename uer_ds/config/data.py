"""Options about data: how samples are drawn, from which datasets, with which tokenizer.

Names are UER-py's options with UER-py's defaults.
"""

from __future__ import annotations

from dataclasses import dataclass

from uer_ds.config.options import Options, option, prefixed
from uer_ds.errors import unknown_name
from uer_ds.registry import OBJECTIVES, TOKENIZERS

STRATEGIES = ("lead", "random")


@dataclass(frozen=True)
class SamplingConfig(Options):
    """How samples are drawn. A dataset keeps what preprocess was given, as training's defaults; its shards do not
    depend on it."""

    seq_length: int | None = option(None, "tokens a row; default: the dataset's, else 128", least=1)
    tgt_seq_length: int | None = option(None, "target tokens a row; default: the dataset's, else 128", least=1)
    no_packing: bool = option(False, "one document a row with padding (UER-py's way) instead of full rows")
    dup_factor: int = option(
        0, "static masking: so many versions of a sample, used in turn; 0: dynamic, drawn anew in every epoch", least=0
    )
    whole_word_masking: bool = option(False, "mask all pieces of a word together")
    span_masking: bool = option(False, "mask spans of tokens")
    span_geo_prob: float = option(0.2, "parameter of the geometric distribution of span lengths", above=0, most=1)
    span_max_length: int = option(10, "longest span in tokens", least=1)
    short_seq_prob: float = option(0.1, "bert, albert: share of shorter sequences", least=0, most=1)
    sentence_selection_strategy: str = option("lead", "gsg: which sentences are the target", STRATEGIES)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sentence_selection_strategy not in STRATEGIES:
            raise unknown_name("sentence_selection_strategy", self.sentence_selection_strategy, STRATEGIES)


SEQ_LENGTH = 128
"""Tokens a row where nobody says anything, as in UER-py."""


@dataclass(frozen=True)
class DataConfig(SamplingConfig):
    """Which samples are drawn, from which datasets."""

    dataset_path: tuple[str, ...] = option(("dataset.pt",), "dataset folders made by `uer-ds preprocess`")
    dataset_weights: tuple[float, ...] = option((), "share of each dataset in the samples; default: by size", least=0)
    eval_dataset_path: str | None = option(
        None, "held-out dataset, evaluated at the start, every eval_steps and at the end"
    )
    data_processor: str | None = option(
        None, "objective; default: that of the model JSON, of the dataset, bert", OBJECTIVES
    )
    loader_workers: int = option(
        1, "background workers that prepare batches, per rank; 0: in the training thread", least=0
    )


@dataclass(frozen=True)
class TokenizerConfig(Options):
    """A tokenizer by its files. A dataset brings its own: give these to have them compared."""

    tokenizer: str = option("bert", "tokenizer", TOKENIZERS)
    vocab_path: str | None = option(None, "vocabulary file, one token a line")
    merges_path: str | None = option(None, "bpe: merges file")
    spm_model_path: str | None = option(None, "sentencepiece model; then no vocabulary file is needed")
    do_lower_case: str = option("true", "bert: lower-case and strip accents", ("true", "false"))
    special_tokens_map_path: str | None = option(None, "JSON of the special tokens' names, where they are unusual")


TargetTokenizerConfig = prefixed(TokenizerConfig, "tgt_", "TargetTokenizerConfig")
"""mt: the tokenizer of the target side; default: that of the source side."""
