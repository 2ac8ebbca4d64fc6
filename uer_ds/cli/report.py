"""Runs on one page: `uer-ds report output --output_path report.html`, or `uer-ds report run_a run_b ...` side by side.

Reads what runs have written (pre-training and fine-tuning alike), also while they run. The page is one file that needs
no network. --samples lets the newest checkpoint of each run fill blanks in held-out text, or go on with it;
--sample_path the same with texts of yours.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from uer_ds.cli.parser import add_config_options, given_values
from uer_ds.config.options import Options, option
from uer_ds.errors import UserError
from uer_ds.report.figures import panels
from uer_ds.report.held_out import Question, questions
from uer_ds.report.page import Samples, page
from uer_ds.report.pictures import write_pictures
from uer_ds.report.read import RunLog, read_runs
from uer_ds.storage.disk import disk_errors
from uer_ds.storage.files import read_json_object, write_file
from uer_ds.storage.lines import read_lines

if TYPE_CHECKING:
    from uer_ds.finetune.opening import Opened

AXES = {"updates": "update", "tokens": "tokens"}
SAMPLES = 12
"""Texts of a page at most."""


@dataclass(frozen=True)
class SampleConfig(Options):
    """What the models are asked."""

    samples: int | None = option(
        None, "so many texts of the first run's held-out data for the models to fill or go on", least=1
    )
    sample_path: str | None = option(None, f"text, a line each ({SAMPLES} at most), for the models to fill or go on")
    topn: int = option(5, "guesses for a blank", least=1)
    sample_tokens: int = option(60, "tokens written behind a text", least=1)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Runs, files, axis, samples."""
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folders of runs (their --output_model_path)")
    parser.add_argument("--output_path", default="report.html", help="the page (default: report.html)")
    parser.add_argument("--png_folder", help="also write each picture as a PNG file there")
    parser.add_argument("--x", choices=tuple(AXES), default="updates", help="what the axis counts (default: updates)")
    add_config_options(parser, SampleConfig, "samples")


def run(args: argparse.Namespace) -> int:
    """Write the page."""
    wanted = SampleConfig(**given_values(args, SampleConfig))
    runs = read_runs(args.runs)
    shown = panels(runs, AXES[args.x])
    samples = _samples(wanted, args.runs, runs)
    output = Path(args.output_path)
    with disk_errors():
        if args.png_folder:
            write_pictures(Path(args.png_folder), shown, [found.name for found in runs], args.x)
        write_file(output, page(runs, shown, args.x, samples))
    print(f"{output}: {len(runs)} run{'s' * (len(runs) > 1)}, {len(shown)} pictures", file=sys.stderr)
    return 0


def _samples(wanted: SampleConfig, folders: list[str], runs: list[RunLog]) -> Samples:
    """What each run's newest checkpoint says to the texts that are asked for."""
    asked = _asked(wanted, folders, runs)
    if not asked:
        return ()
    texts = [question.asked for question in asked]
    from uer_ds.cli.opening import one_process
    from uer_ds.engine import distributed  # torch and deepspeed: seconds
    from uer_ds.finetune.opening import Source, Wanted, open_model

    answers = [[("the text", question.answer)] if question.answer else [] for question in asked]
    with distributed.joined(one_process()):
        for folder, name in zip(folders, (found.name for found in runs), strict=True):
            target = _target(Path(folder))
            opened = open_model(Source(str(folder)), Wanted((target,)))
            fill = target == "mlm"
            said = _fillings(opened, texts, wanted.topn) if fill else _writings(opened, texts, wanted.sample_tokens)
            for place, answer in enumerate(said):
                answers[place].append((name, answer))
    return list(zip(texts, answers, strict=True))


def _asked(wanted: SampleConfig, folders: list[str], runs: list[RunLog]) -> list[Question]:
    """From the file, or from the first run's held-out data."""
    if wanted.sample_path is not None:
        if wanted.samples is not None:
            raise UserError("--samples and --sample_path both say what the models are asked; give one of them.")
        found = [Question(line, "") for _, line in read_lines(Path(wanted.sample_path))][:SAMPLES]
        if not found:
            raise UserError(f"{wanted.sample_path}: has no text.")
        return found
    if wanted.samples is None:
        return []
    targets = [_target(Path(folder)) for folder in folders]
    if len(set(targets)) > 1:
        kinds = ", ".join(f"{folder}: {target}" for folder, target in zip(folders, targets, strict=True))
        raise UserError(f"--samples asks all runs the same, but their models are of different kinds ({kinds}).")
    return questions(runs[0], wanted.samples, targets[0])


def _target(folder: Path) -> str:
    """The head of the run's model that says tokens."""
    from uer_ds.config.model import model_config_from_dict
    from uer_ds.storage.places import CONFIG_FILE, newest_checkpoint

    path = newest_checkpoint(folder) / CONFIG_FILE
    if not path.is_file():
        raise UserError(f"{folder}: has no checkpoint yet; leave out --samples and --sample_path.")
    config = model_config_from_dict(read_json_object(path), str(path))
    found = next((name for name in ("mlm", "lm") if name in config.target), None)
    if found is None:
        raise UserError(f"{path}: target is {' '.join(config.target) or 'empty'}; samples need mlm or lm.")
    return found


def _fillings(opened: Opened, texts: list[str], topn: int) -> Iterator[str]:
    from uer_ds.models.model import Model
    from uer_ds.tools.cloze import fill
    from uer_ds.tools.rows import answered

    assert isinstance(opened.model, Model)
    length = opened.config.max_seq_length
    for _, blanks in answered(texts, opened.tokenizer, length, 8, fill(opened.model, opened.tokenizer, topn, 7), True):
        yield "\n".join(
            (f"(was “{blank.answer}”) " if blank.answer else "")
            + ", ".join(f"“{token}” {chance:.1%}" for token, chance in blank.guesses)
            for blank in blanks
        )


def _writings(opened: Opened, texts: list[str], tokens: int) -> Iterator[str]:
    from uer_ds.config.generate import DecodingConfig, TextConfig
    from uer_ds.generate.run import Pace, generate
    from uer_ds.generate.texts import Desk
    from uer_ds.models.model import Model

    assert isinstance(opened.model, Model)
    rules = DecodingConfig(), TextConfig(seq_length=opened.config.max_seq_length, max_new_tokens=tokens)
    desk = Desk(opened.config, opened.tokenizer, opened.target_tokenizer, *rules)
    for _, text in generate(opened.model, desk, texts, 8, Pace()):
        yield desk.show(text.ids)
