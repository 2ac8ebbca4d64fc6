"""Look into datasets and rearrange them: counts, checksums, samples, merging, a held-out part, UER-py's files."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from uer_ds.cli.dataset_sample import add_sample_arguments, sample
from uer_ds.cli.parser import add_config_options, given_values
from uer_ds.cli.preprocess import make_target_tokenizer, make_tokenizer, summary
from uer_ds.cli.progress import ProgressBar, table
from uer_ds.config.data import TargetTokenizerConfig, TokenizerConfig
from uer_ds.errors import UserError

BAR_WIDTH = 40


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One sub-command each, with its own options."""
    commands = parser.add_subparsers(dest="action", required=True, metavar="ACTION", parser_class=type(parser))
    info = commands.add_parser("info", help="counts, origin and lengths of the documents")
    info.add_argument("dataset", metavar="FOLDER")
    verify = commands.add_parser("verify", help="read every byte and compare it with the manifest")
    verify.add_argument("dataset", metavar="FOLDER")
    add_sample_arguments(commands.add_parser("sample", help="samples of an objective in words, as the model sees them"))
    _add_merge(commands.add_parser("merge", help="several datasets of one vocabulary into one"))
    _add_split(commands.add_parser("split", help="a training and a held-out dataset, by document"))
    _add_import(commands.add_parser("import", help="a dataset.pt of UER-py, or a .bin and .idx pair, into a folder"))


def _add_merge(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("datasets", nargs="+", metavar="FOLDER", help="datasets, in order")
    parser.add_argument("--output_path", required=True, metavar="FOLDER", help="the dataset to write")


def _add_split(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", metavar="FOLDER")
    parser.add_argument("--train_path", required=True, metavar="FOLDER", help="the training dataset to write")
    parser.add_argument("--held_out_path", required=True, metavar="FOLDER", help="the held-out dataset to write")
    parser.add_argument(
        "--held_out", type=float, default=0.01, metavar="N", help="documents, or a share below 1 (default: 0.01)"
    )
    parser.add_argument("--seed", type=int, default=7, help="which documents (default: 7)")


def _add_import(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file", metavar="FILE", help="the dataset.pt; or the common name of a .bin and .idx of Megatron or DeepSpeed"
    )
    parser.add_argument("--output_path", required=True, metavar="FOLDER", help="the dataset to write")
    parser.add_argument(
        "--data_processor", required=True, help="what it was made with, or is for; the file does not say"
    )
    add_config_options(parser, TokenizerConfig, "the tokenizer it was made with")
    add_config_options(parser, TargetTokenizerConfig, "tokenizer of the target side (mt)")


def run(args: argparse.Namespace) -> int:
    """Do what was asked."""
    actions = {"info": show, "verify": check, "sample": sample, "merge": merge, "split": split, "import": bring_over}
    actions[args.action](args)
    return 0


def show(args: argparse.Namespace) -> None:
    """`info`"""
    from uer_ds.data.dataset import describe, open_dataset
    from uer_ds.data.measure import length_histogram

    dataset = open_dataset(args.dataset)
    manifest = dataset.manifest
    tokenizers = [t for t in (manifest.tokenizer, manifest.target_tokenizer) if t is not None]
    rows: list[tuple[str, Any]] = [("dataset", args.dataset), *summary(manifest)]
    rows += [("tokens a document", f"{dataset.tokens / max(dataset.documents, 1):,.1f} on average")]
    rows += [("tokenizer", ", ".join(map(describe, tokenizers))), ("ids", manifest.dtype)]
    rows += [("column", f"{c.name}, {c.dtype} a {c.per}") for c in manifest.columns]
    rows += [
        ("for training", ", ".join(f"{key} {value}" for key, value in manifest.sampling.items()) or "nothing said")
    ]
    rows += [("source", f"{source.path} ({source.bytes:,} bytes)") for source in manifest.sources]
    rows += [("command", " ".join(manifest.command)), ("version", manifest.version)]
    print(table(rows))
    print("\ntokens in a document, and documents")
    print(histogram_text(length_histogram(dataset)))


def histogram_text(classes: list[tuple[int, int]]) -> str:
    """(shortest length, documents) as bars."""
    most = max((count for _, count in classes), default=0)
    lines = []
    for low, count in classes:
        bar = "#" * -(-count * BAR_WIDTH // most)
        lines.append(f"{low:>9,} - {max(2 * low - 1, low):>9,}  {count:>13,}  {bar}".rstrip())
    return "\n".join(lines)


def check(args: argparse.Namespace) -> None:
    """`verify`"""
    from uer_ds.data.dataset import open_dataset
    from uer_ds.data.measure import total_bytes, verify

    dataset = open_dataset(args.dataset)
    with ProgressBar("verify") as progress:
        progress.start(total_bytes(dataset))
        verify(dataset, progress.advance)
    files = sum(len(shard.files) for shard in dataset.manifest.shards)
    print(f"{args.dataset}: {files} files, {total_bytes(dataset):,} bytes, {dataset.tokens:,} tokens: all as written")


def merge(args: argparse.Namespace) -> None:
    """`merge`"""
    from uer_ds.data.combine import merge as merge_datasets
    from uer_ds.data.dataset import open_dataset

    datasets = [open_dataset(path) for path in args.datasets]
    manifest = merge_datasets(datasets, Path(args.output_path), _command(args))
    print(table([("dataset", args.output_path), *summary(manifest)]))


def split(args: argparse.Namespace) -> None:
    """`split`"""
    from uer_ds.data.combine import split as split_dataset
    from uer_ds.data.dataset import open_dataset

    dataset = open_dataset(args.dataset)
    if args.held_out <= 0 or (args.held_out > 1 and args.held_out != int(args.held_out)):
        raise UserError(
            f"--held_out is {args.held_out:g}; expected a number of documents (such as 1000) or a share of them between"
            " 0 and 1 (such as 0.01)."
        )
    count = round(args.held_out * dataset.documents) if args.held_out < 1 else int(args.held_out)
    if not 0 < count < dataset.documents:
        raise UserError(
            f"--held_out {args.held_out:g} makes {count} of the {dataset.documents} documents of {args.dataset};"
            " expected at least one, and one left over for training."
        )
    outputs = (Path(args.train_path), Path(args.held_out_path))
    with ProgressBar("split", unit="documents") as progress:
        progress.start(dataset.documents)
        manifests = split_dataset(dataset, count, outputs, args.seed, progress.advance, _command(args))
    for path, manifest in zip(outputs, manifests, strict=True):
        print(table([("dataset", path), *summary(manifest)]))


def bring_over(args: argparse.Namespace) -> None:
    """`import`"""
    from uer_ds.data.pair_import import find_pair, import_pair
    from uer_ds.data.uer_import import import_dataset

    pair = find_pair(Path(args.file))
    path = Path(args.file) if pair is None else Path(f"{pair}.bin")
    output, processor = Path(args.output_path), args.data_processor
    tokenizer = make_tokenizer(given_values(args, TokenizerConfig))
    target = make_target_tokenizer(args, processor, tokenizer)
    copies: list[tuple[str, int]] = []
    with ProgressBar("import") as progress:
        progress.start(path.stat().st_size if path.is_file() else 0)
        if pair is not None:
            manifest = import_pair(pair, output, processor, tokenizer, progress.advance, target, _command(args))
        else:
            manifest, count = import_dataset(
                path, output, processor, tokenizer, progress.advance, target, _command(args)
            )
            copies = [("copies left out", count)]
    print(table([("dataset", args.output_path), *summary(manifest), *progress.speed(), *copies]))


def _command(args: argparse.Namespace) -> tuple[str, ...]:
    return ("uer-ds", "dataset", *args.arguments)
