"""Look into a checkpoint: format, family, sizes, data types, number of parameters, checksum.

uer-ds inspect chinese_roberta_L-2_H-128
"""

from __future__ import annotations

import argparse
import dataclasses
import json

from uer_ds.cli.progress import table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="file or folder")
    parser.add_argument("--config_path", metavar="PATH", help="model JSON of a file that has none beside it")
    parser.add_argument("--keys", action="store_true", help="list the tensors and their shapes")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.add_argument("--no_checksum", action="store_true", help="do not read the weights")


def run(args: argparse.Namespace) -> int:
    """Print what was found."""
    from uer_ds.convert.inspection import inspect_checkpoint

    found = inspect_checkpoint(args.checkpoint, args.config_path, not args.no_checksum)
    if args.json:
        print(json.dumps(dataclasses.asdict(found), indent=2))
        return 0
    rows = [
        ("checkpoint", args.checkpoint),
        ("format", f"{found.format}, {found.layout} names"),
        ("family", found.family),
        *found.sizes.items(),
        ("tensors", f"{found.tensors:,} ({', '.join(f'{count} {name}' for name, count in found.dtypes.items())})"),
        ("parameters", f"{found.parameters:,} ({found.bytes / 1e6:,.1f} MB, tied tensors counted once)"),
        ("checksum", found.checksum or "not computed"),
    ]
    print(table(rows))
    if args.keys:
        print("\n".join(["", *(f"{name} {shape}" for name, shape in found.names.items())]))
    return 0
