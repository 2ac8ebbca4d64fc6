"""Turn text into a dataset folder: token ids in shards, made once, read by every objective.

Masks, pairs and row lengths are drawn when samples are read, so options about them are only kept as defaults for
`uer-ds pretrain`. The same command again goes on where it stopped, or says that the dataset is finished.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uer_ds.cli.compat import modernise_preprocess
from uer_ds.cli.parser import add_config_options, given_values, without_prefix
from uer_ds.cli.progress import ProgressBar, data_size, table
from uer_ds.config.data import SEQ_LENGTH, SamplingConfig, TargetTokenizerConfig, TokenizerConfig
from uer_ds.config.options import Options, option
from uer_ds.data.corpus import FORMATS
from uer_ds.errors import UserError
from uer_ds.objective_specs import CORPORA, OBJECTIVE_SPECS, names_by_corpus
from uer_ds.registry import OBJECTIVES


@dataclass(frozen=True)
class CorpusConfig(Options):
    """What is read and what is written."""

    corpus_path: tuple[str, ...] = option((), "text files, folders or patterns such as 'data/*.txt'")
    corpus_format: str | None = option(None, "format of the text; default: by file ending", FORMATS)
    dataset_path: str = option("dataset.pt", "the dataset folder to write")
    data_processor: str = option("bert", "objective; decides how the text is read", OBJECTIVES)
    processes_num: int = option(1, "worker processes (on each rank with --mpi)", least=1)
    shards: int | None = option(
        None, "number of shards; default: one a process, more above 1 GiB of text each", least=1
    )
    split_sentences: str = option(
        "auto",
        f"{names_by_corpus('blank_line')}: every line is a document, to be split into sentences (yes), or lines are"
        " sentences and blank lines end documents (no); auto: yes when the corpus has no blank line",
        ("auto", "yes", "no"),
    )
    strict: bool = option(False, "fail at the first malformed line instead of leaving it out and counting it")
    mpi: bool = option(False, "share the work out over the ranks of mpirun or srun")


OBSOLETE = {
    "docs_buffer_size": "documents are read from the file as they are needed",
    "seed": "nothing random happens before training",
    "full_sentences": "rows are full unless --no_packing is given",
}
"""UER-py's options that have become meaningless, and what happens instead."""


modernise = modernise_preprocess
"""How `uer-ds` rewrites older spellings of this command line."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    forms = [f"  {names_by_corpus(corpus)}: {words}" for corpus, words in CORPORA.items()]
    parser.epilog = "\n".join(["text by --data_processor (all also as records of .jsonl, .json, .parquet):", *forms])
    add_config_options(parser, CorpusConfig, "corpus and dataset")
    add_config_options(parser, TokenizerConfig, "tokenizer")
    add_config_options(parser, TargetTokenizerConfig, "tokenizer of the target side (mt)")
    add_config_options(parser, SamplingConfig, "samples (defaults for training)")
    old = parser.add_argument_group("of UER-py's and TencentPretrain's command lines")
    for name, reason in OBSOLETE.items():
        kind: dict[str, Any] = {"type": int, "metavar": "INT"}
        if name == "full_sentences":
            kind = {"action": "store_true"}
        old.add_argument(f"--{name}", default=argparse.SUPPRESS, help=reason, **kind)
    old.add_argument("--dynamic_masking", action="store_true", help="the same as --dup_factor 0, the default")
    old.add_argument("--json_format_corpus", action="store_true", help="the same as --corpus_format jsonl")


def run(args: argparse.Namespace) -> int:
    """Build the dataset and say what it holds."""
    from uer_ds.data.shards import build_dataset
    from uer_ds.data.team import Alone, MpiTeam

    config = CorpusConfig(**given_values(args, CorpusConfig))
    if not config.corpus_path:
        raise UserError("--corpus_path is missing; name the text files, folders or patterns to read.")
    team = MpiTeam() if config.mpi else Alone()
    for name in [name for name in OBSOLETE if hasattr(args, name)]:
        tell(team.rank, f"--{name} has no effect: {OBSOLETE[name]}.")
    with ended_like_ctrl_c(), ProgressBar("preprocess", shown=team.rank == 0) as progress:
        manifest = build_dataset(make_spec(config, args), progress, team)
    if team.rank == 0:
        print(table([("dataset", config.dataset_path), *summary(manifest), *progress.speed()]))
    return 0


@contextmanager
def ended_like_ctrl_c() -> Iterator[None]:
    """SIGTERM (of a batch system, say) ends the work in order too: finished shards are kept, helpers leave quietly."""

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def tell(rank: int, text: str) -> None:
    """Say something once, whatever the number of ranks."""
    if rank == 0:
        print(text, file=sys.stderr)


def make_spec(config: CorpusConfig, args: argparse.Namespace) -> Any:
    """The build that the command line asks for."""
    from uer_ds.data.shards import BuildSpec

    sampling = sampling_defaults(args)
    tokenizer = make_tokenizer(given_values(args, TokenizerConfig))
    tokenizer.require(*OBJECTIVE_SPECS[config.data_processor].required_tokens)
    return BuildSpec(
        corpus=config.corpus_path,
        output=Path(config.dataset_path),
        tokenizer=tokenizer,
        target_tokenizer=make_target_tokenizer(args, config.data_processor, tokenizer),
        rule=choose_rule(config),
        corpus_format="jsonl" if args.json_format_corpus else config.corpus_format,
        shards=config.shards,
        processes=config.processes_num,
        strict=config.strict,
        word_starts=sampling.get("whole_word_masking", False),
        sampling={"data_processor": config.data_processor, **sampling},
        command=("uer-ds", "preprocess", *args.arguments),
    )


def choose_rule(config: CorpusConfig) -> str:
    """How the corpus is read for `--data_processor`, with a look at it where UER-py has two forms."""
    from uer_ds.data.corpus import find_sources
    from uer_ds.data.plan import has_blank_lines

    rule = OBJECTIVE_SPECS[config.data_processor].corpus
    if rule != "blank_line" or config.split_sentences == "no":
        return rule
    if config.split_sentences == "yes" or not has_blank_lines(find_sources(config.corpus_path, config.corpus_format)):
        return "split"
    return rule


def make_tokenizer(options: dict[str, Any]) -> Any:
    """The tokenizer of the command line (values that were given only)."""
    from uer_ds.tokenizers import load_tokenizer

    return load_tokenizer(**{**options, "do_lower_case": options.get("do_lower_case", "true") == "true"})


def make_target_tokenizer(args: argparse.Namespace, processor: str, source: Any) -> Any:
    """The tokenizer of the target side where it was given, else None; only mt may have one of its own."""
    given = without_prefix(given_values(args, TargetTokenizerConfig), "tgt_")
    target = make_tokenizer(given) if given else None
    if target is None or processor == "mt":
        return target
    if target.fingerprint != source.fingerprint:
        raise UserError(
            f"--tgt_{next(iter(given))} names another vocabulary than the source's, but {processor} has one for both"
            " sides; leave the --tgt_ options out, or name mt."
        )
    return None


def sampling_defaults(args: argparse.Namespace) -> dict[str, Any]:
    """The options of `SamplingConfig` that were given, and the row lengths always."""
    given = given_values(args, SamplingConfig)
    if args.dynamic_masking:
        given.pop("dup_factor", None)
    SamplingConfig(**given)  # checks the values
    return {"seq_length": SEQ_LENGTH, "tgt_seq_length": SEQ_LENGTH, **given}


def summary(manifest: Any) -> list[tuple[str, Any]]:
    """What a dataset holds, for `table`."""
    rows = [("layout", f"{manifest.layout} ({manifest.preparation})")]
    rows += [(name, manifest.totals[name]) for name in ("documents", "items", "tokens")]
    losses = {
        "empty lines left out": "empty_documents",
        "malformed lines left out": "malformed_lines",
        "tokens without word bounds": "unplaced_tokens",
    }
    rows += [(words, manifest.totals[name]) for words, name in losses.items() if manifest.totals[name]]
    size = sum(file.bytes for shard in manifest.shards for file in shard.files)
    text = sum(source.bytes for source in manifest.sources)
    share = f"{size / text:.0%} of the corpus's {data_size(text)}"
    return [*rows, ("shards", f"{len(manifest.shards)}, {data_size(size)} ({share})")]
