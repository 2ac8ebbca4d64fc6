"""Average several checkpoints of one model.

    uer-ds average run/checkpoint-9000 run/checkpoint-10000 --output_path averaged.bin

The name of the output decides its form: `.bin`, `.safetensors`, or a folder.
"""

from __future__ import annotations

import argparse

from uer_ds.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options; those with an underscore are UER-py's."""
    parser.add_argument("inputs", nargs="*", metavar="CHECKPOINT", help="files or folders, all of one model")
    parser.add_argument(
        "--model_list_path", nargs="+", default=[], metavar="PATH", help="UER-py's name of CHECKPOINT ..."
    )
    parser.add_argument("--output_path", metavar="PATH", help="file or folder to write")
    parser.add_argument("--output_model_path", metavar="PATH", help="UER-py's name of --output_path")
    parser.add_argument("--force", action="store_true", help="replace an existing output")


def run(args: argparse.Namespace) -> int:
    """Average and say how much."""
    from uer_ds.convert.average import average

    output = args.output_path or args.output_model_path
    if not output:
        raise UserError("--output_path is missing; expected the file or folder to write.")
    inputs = [*args.inputs, *args.model_list_path]
    tensors = average(inputs, output, args.force)
    print(f"{output}: {tensors} tensors, each the mean of {len(inputs)}")
    return 0
