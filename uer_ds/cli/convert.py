"""Convert a checkpoint: UER's .bin of any age, Hugging Face, safetensors, DeepSpeed, or one of uer_ds.

    uer-ds convert models/output uer_model_hf
    uer-ds convert chinese_roberta_L-2_H-128 model.bin --to uer

Format, family, sizes and head of the input are found out. The output is written under a temporary name and renamed
when it is complete.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from uer_ds.errors import UserError

TYPES = ("bert", "mlm", "t5", "t5-v1_1")
ERAS = ("2021", "2022", "2023")
FORMATS = ("huggingface", "uer", "safetensors")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options; those with an underscore are UER-py's."""
    parser.add_argument("input", nargs="?", metavar="INPUT", help="file or folder to convert")
    parser.add_argument("output", nargs="?", metavar="OUTPUT", help="file or folder to write")
    parser.add_argument("--input_model_path", metavar="PATH", help="UER-py's name of INPUT")
    parser.add_argument("--output_model_path", metavar="PATH", help="UER-py's name of OUTPUT")
    parser.add_argument("--to", choices=FORMATS, default="huggingface", help="format of OUTPUT (default: huggingface)")
    parser.add_argument(
        "--config_path", metavar="PATH", help="model JSON, or the name of one, of an input that has none beside it"
    )
    parser.add_argument("--family", metavar="NAME", help="family, where names and sizes do not tell (xlm-roberta)")
    parser.add_argument(
        "--head", metavar="NAME", help="head to convert, where there are several; none: the encoder alone"
    )
    parser.add_argument("--type", choices=TYPES, help="UER-py's name of heads (bert, mlm) and families (t5, t5-v1_1)")
    parser.add_argument("--heads_num", type=int, metavar="N", help="attention heads, where no file tells")
    parser.add_argument("--layers_num", type=int, metavar="N", help="layers, where no file tells (ALBERT)")
    parser.add_argument(
        "--layernorm",
        choices=("normal", "uer"),
        help="layer norm on UER's side: what a .bin without a JSON was trained with, what a UER output runs with",
    )
    parser.add_argument(
        "--era", choices=ERAS, default=ERAS[-1], help="year of the UER-py whose names a UER output has (default: 2023)"
    )
    parser.add_argument("--labels", nargs="+", metavar="NAME", help="label names of a classification head, in order")
    parser.add_argument("--ignore", metavar="REGEX", help="tensors that may be lost")
    parser.add_argument(
        "--verify",
        action="store_true",
        default=None,
        help="compare the logits of both sides on random input (default: for small models)",
    )
    parser.add_argument("--no_verify", dest="verify", action="store_false", help="do not compare them")
    parser.add_argument("--force", action="store_true", help="replace an existing OUTPUT and its side files")
    group = parser.add_argument_group("tokenizer", "of an input that has none beside it, for a Hugging Face OUTPUT")
    group.add_argument("--tokenizer", default="bert", metavar="NAME", help="kind of tokenizer (default: bert)")
    group.add_argument("--vocab_path", metavar="PATH", help="vocabulary file")
    group.add_argument("--spm_model_path", metavar="PATH", help="sentencepiece model")
    group.add_argument("--merges_path", metavar="PATH", help="merges of the byte-pair tokenizer")
    group.add_argument("--do_lower_case", choices=("true", "false"), default="true", help="bert: lower casing")


def run(args: argparse.Namespace) -> int:
    """Convert and say what was found."""
    from uer_ds.convert import convert

    input_path = _one_of(args.input, args.input_model_path, "INPUT", "--input_model_path")
    output_path = _one_of(args.output, args.output_model_path, "OUTPUT", "--output_model_path")
    report = convert(
        input_path,
        output_path,
        args.to,
        config_path=args.config_path,
        tokenizer=_tokenizer(args),
        family=args.family or (args.type if args.type in ("t5", "t5-v1_1") else None),
        head=args.head or {"bert": "mlm_sp", "mlm": "mlm"}.get(args.type),
        heads_num=args.heads_num,
        layers_num=args.layers_num,
        layernorm=args.layernorm,
        era=args.era,
        labels=args.labels,
        ignore=args.ignore,
        verify=args.verify,
        force=args.force,
        ask_heads=_ask_heads if sys.stdin.isatty() else None,
    )
    print(describe(report))
    return 0


def describe(report: Any) -> str:
    """The report as lines for people."""
    done = report.export
    what = " ".join(filter(None, [done.family, done.head and f"with head {done.head}"])) or "model"
    config = report.config.stream_0 or report.config
    lines = [
        f"{report.input_format}: {what}, {config.layers_num} layers, hidden size {config.hidden_size}, "
        f"{done.parameters:,} parameters",
        *(f"dropped: {name}" for name in done.dropped),
        *(f"note: {note}" for note in done.notes),
        f"{done.tensors} tensors written to {report.output}",
    ]
    if done.difference is not None:
        lines.append(
            f"verified: the logits of both sides differ by at most {done.difference.absolute:.1e} on random input "
            f"({done.difference.relative:.1e} of the largest)"
        )
    return "\n".join(lines)


def _one_of(positional: str | None, option: str | None, name: str, spelling: str) -> str:
    if positional and option:
        raise UserError(f"{name} is given twice: {positional} and {spelling} {option}; give one.")
    if not (positional or option):
        raise UserError(f"{name} is missing; expected `uer-ds convert INPUT OUTPUT` or {spelling}.")
    return positional or option or ""


def _tokenizer(args: argparse.Namespace) -> Any:
    """The tokenizer that the options name, or None."""
    if not (args.vocab_path or args.spm_model_path):
        return None
    from uer_ds.tokenizers import load_tokenizer

    return load_tokenizer(
        args.tokenizer,
        vocab_path=args.vocab_path,
        spm_model_path=args.spm_model_path,
        merges_path=args.merges_path,
        do_lower_case=args.do_lower_case == "true",
    )


def _ask_heads(hidden_size: int) -> int:
    """Ask at the terminal, offering one head per 64 units."""
    offer = max(1, hidden_size // 64)
    try:
        answer = input(f"The file does not tell the number of attention heads; how many? [{offer}] ").strip()
        heads = int(answer) if answer else offer
    except EOFError:
        raise UserError("no answer about the number of attention heads; give it with --heads_num.") from None
    except ValueError:
        heads = 0
    if heads < 1:
        raise UserError(f"{answer!r} is not a number of attention heads; expected a positive integer.")
    return heads
