"""`uer-ds COMMAND ...`: finds the command, runs it, and turns a user's mistake into one sentence and exit status 2.

Only the asked command's module is imported, so that `uer-ds --help` answers at once.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import NoReturn

from uer_ds import __version__
from uer_ds.cli.compat import say_modern_form
from uer_ds.cli.parser import Parser
from uer_ds.errors import INTERRUPTED, USER_MISTAKE, UserError, unknown_name
from uer_ds.launch.leaving import leave
from uer_ds.launch.place import find_place

COMMANDS = {
    "vocab": ("uer_ds.cli.vocab", "build a vocabulary from text; adapt a model to another, compare two"),
    "preprocess": ("uer_ds.cli.preprocess", "turn text into an indexed dataset"),
    "dataset": ("uer_ds.cli.dataset", "look into, verify, merge and split datasets"),
    "pretrain": ("uer_ds.cli.pretrain", "pre-train a model, or go on with one"),
    "finetune": ("uer_ds.cli.finetune", "fine-tune a model for a task"),
    "grid": ("uer_ds.cli.grid", "fine-tune with every setting of a grid, keep the best model"),
    "cv": ("uer_ds.cli.cv", "cross-validate: a model for each fold, probabilities of all rows"),
    "predict": ("uer_ds.cli.predict", "answers of a fine-tuned model"),
    "cv-predict": ("uer_ds.cli.cv_predict", "mean probabilities of the models of a cross-validation"),
    "stack": ("uer_ds.cli.stack", "one prediction from several models' probabilities, by LightGBM"),
    "generate": ("uer_ds.cli.generate", "go on with texts, or answer them, with a language model or a decoder"),
    "cloze": ("uer_ds.cli.cloze", "fill blanks with a masked language model"),
    "features": ("uer_ds.cli.features", "vectors of sentences"),
    "embeddings": ("uer_ds.cli.embeddings", "write a model's word vectors"),
    "neighbours": ("uer_ds.cli.neighbours", "the words nearest to a word, alone or in a context"),
    "perplexity": ("uer_ds.cli.perplexity", "how well a model foretells a text, by line and in all"),
    "plan": ("uer_ds.cli.plan", "memory, time and cost of a run before it is started"),
    "doctor": ("uer_ds.cli.doctor", "look at machines, network, disks and dataset before a long run"),
    "submit": ("uer_ds.cli.submit", "pre-train on several nodes: a SLURM job, or the hosts of a hostfile"),
    "check-node": ("uer_ds.cli.check_node", "say whether this machine can take part in a run"),
    "convert": ("uer_ds.cli.convert", "convert checkpoints to and from Hugging Face and UER"),
    "average": ("uer_ds.cli.average", "average checkpoints of one model"),
    "inspect": ("uer_ds.cli.inspect", "look into a checkpoint"),
    "models": ("uer_ds.cli.models", "list the models that have a configuration"),
    "recipes": ("uer_ds.cli.recipes", "list the recipes: whole runs under one name"),
    "report": ("uer_ds.cli.report", "runs on one page: curves, time, what differs, samples"),
    "completion": ("uer_ds.cli.completion", "print the script that completes commands in your shell"),
    "demo-data": ("uer_ds.cli.demo_data", "write real Chinese data: reviews, sentiments, tagged names"),
    "demo-report": ("uer_ds.cli.demo_report", "what the quickstart's model has learnt, as a table"),
}

OUTPUT_CLOSED = 141
"""What a shell reports for a command whose output nobody reads any more (128 + SIGPIPE)."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status (0 done, 2 a mistake in what was given)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    try:
        return run_command(arguments)
    except UserError as error:
        if debug:
            raise
        if _speaks():
            print(f"uer-ds: {error}", file=sys.stderr)
        return USER_MISTAKE
    except KeyboardInterrupt:
        if debug:
            raise
        print("uer-ds: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output (head, less) has left
        sys.stderr.close()
        return OUTPUT_CLOSED


def enter(argv: Sequence[str] | None = None) -> NoReturn:
    """`main` for a process of its own: leaves it with the status."""
    try:
        status = main(argv)
    except SystemExit as wish:  # of argparse, or of DeepSpeed's autotuner in an update
        if isinstance(wish.code, str):
            raise
        status = wish.code or 0
    leave(status)


def _speaks() -> bool:
    """The ranks of a machine meet the same mistake (a missing file, say); the first of them says it."""
    try:
        return find_place(os.environ).local_rank == 0
    except UserError:  # the mistake is in what the launcher has set
        return True


def run_command(arguments: list[str]) -> int:
    """Dispatch `arguments` (without the program's name) to its command."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(overview())
        return 0
    if arguments[0] == "--version":
        print(f"uer-ds {__version__}")
        return 0
    name = arguments[0]
    if name not in COMMANDS:
        raise unknown_name("command", name, COMMANDS)
    parser, module = command_parser(name)
    args = parser.parse_args(rest := _modern(name, module, arguments[1:]))
    args.arguments = rest
    return module.run(args)


def command_parser(name: str) -> tuple[Parser, ModuleType]:
    """The parser of a command, and the module that runs it."""
    module_name, summary = COMMANDS[name]
    module = importlib.import_module(module_name)
    parser = Parser(
        prog=f"uer-ds {name}",
        description=module.__doc__ or summary,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--local_rank", type=int, help=argparse.SUPPRESS)  # the deepspeed launcher appends it
    module.add_arguments(parser)
    return parser, module


def _modern(name: str, module: ModuleType, given: list[str]) -> list[str]:
    """Today's form of a command line, said once where it differs."""
    modernise = getattr(module, "modernise", None)
    if modernise is None:
        return given
    modern: list[str] = modernise(given)
    line = say_modern_form(name, given, modern)
    if line and _speaks():
        print(line, file=sys.stderr)
    return modern


def overview() -> str:
    """The text of `uer-ds --help`."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name.ljust(width)}  {summary}" for name, (_, summary) in COMMANDS.items()]
    head = "usage: uer-ds COMMAND [options]     uer-ds COMMAND --help lists a command's options\n\ncommands:"
    return "\n".join([head, *lines, "\n--debug shows the traceback of an error; --version prints the version."])
