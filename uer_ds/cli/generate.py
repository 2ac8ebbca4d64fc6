"""Go on with texts, or answer them: `uer-ds generate --load_model_path MODEL --prompt 从前有座山`.

For language models (GPT-2, prefix LM, LSTM, GRU, gated CNN) and models with a decoder (T5, BART, Pegasus, translation).
Without --prediction_path texts appear while they are written. Checkpoint and Hugging Face folders tell everything
else; UER-py's .bin files want --config_path and --vocab_path.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from uer_ds.cli.compat import modernise_finetune
from uer_ds.cli.opening import MODEL_GROUPS, source_of
from uer_ds.cli.parser import add_config_options, given_values
from uer_ds.config.data import TargetTokenizerConfig
from uer_ds.config.generate import DecodingConfig, GeneratePaths, TextConfig
from uer_ds.config.resources import find_json
from uer_ds.errors import UserError
from uer_ds.launch.place import find_place
from uer_ds.storage.disk import disk_errors
from uer_ds.storage.files import read_json_object
from uer_ds.storage.lines import read_lines

if TYPE_CHECKING:
    from uer_ds.engine.group import Group
    from uer_ds.generate.texts import Desk
    from uer_ds.generate.writing import Text

modernise = modernise_finetune

GROUPS: dict[str, type] = {
    "paths": GeneratePaths,
    "choosing tokens": DecodingConfig,
    "texts": TextConfig,
    **MODEL_GROUPS,
    "tokenizer of the answers, where it is another one": TargetTokenizerConfig,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Everything by group."""
    for title, group in GROUPS.items():
        add_config_options(parser, group, title)


def run(args: argparse.Namespace) -> int:
    """Generate."""
    paths = GeneratePaths(**given_values(args, GeneratePaths))
    sampling = DecodingConfig(**given_values(args, DecodingConfig))
    texts = TextConfig(**given_values(args, TextConfig))
    prompts = list(paths.prompt or read_prompts(Path(str(paths.test_path))))
    if not prompts:
        raise UserError(f"{paths.test_path}: has no prompts; expected one a line.")
    engine = find_json("ds_configs", paths.ds_config, "--ds_config") if paths.ds_config else None
    place = find_place(os.environ)
    if place.world_size > 1 and engine is None:
        raise UserError(
            "several processes generate together only where weights are divided; give --ds_config zero3, or start one "
            "process."
        )
    from uer_ds.engine import distributed  # torch and deepspeed: seconds
    from uer_ds.finetune.opening import Wanted, open_model
    from uer_ds.generate.texts import Desk

    with distributed.joined(place) as group:
        opened = open_model(
            source_of(args, str(paths.load_model_path), paths.config_path),
            Wanted(("lm",)),
            None if engine is None else read_json_object(engine),
            str(engine),
        )
        for note in opened.notes if group.place.is_first else ():
            print(note, file=sys.stderr)
        desk = Desk(opened.config, opened.tokenizer, opened.target_tokenizer, sampling, texts)
        _write(opened.model, desk, prompts, paths, group)
    return 0


def read_prompts(path: Path) -> Iterator[str]:
    """Lines that are not empty; of JSON lines what stands under `text`."""
    for number, line in read_lines(path):
        if path.suffix != ".jsonl":
            yield line
            continue
        try:
            yield str(json.loads(line)["text"])
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise UserError(f"{path}: line {number} is no JSON object with the key text.") from error


def _write(model: Any, desk: Desk, prompts: list[str], paths: GeneratePaths, group: Group) -> None:
    from uer_ds.generate.run import Pace, generate

    pace, first = Pace(), group.place.is_first
    alone = (
        paths.prediction_path is None and desk.sampling.beam_size == 1 and len(prompts) * desk.texts.samples_num == 1
    )
    screen = _Screen(desk, prompts) if alone and first else None
    size = 1 if alone else paths.batch_size
    found = generate(model, desk, prompts, size, pace, screen.show if screen else None)
    if paths.prediction_path is None or not first:
        for prompt, text in found:
            if screen:
                screen.finish(text)
            elif first:
                print(whole(desk, prompt, text), flush=True)
    else:
        path = Path(paths.prediction_path)
        with disk_errors(), path.open("w", encoding="utf-8") as file:
            for prompt, text in found:
                _record(file, desk, prompt, text, path.suffix == ".jsonl")
    if first:
        print(f"{paths.prediction_path or 'generate'}: {pace}", file=sys.stderr)


class _Screen:
    """A terminal on which one text grows."""

    def __init__(self, desk: Desk, prompts: list[str]):
        from uer_ds.generate.texts import Stream

        self._stream = Stream(desk.show)
        if not desk.config.decoder:
            print(prompts[0], end="", flush=True)

    def show(self, text: Text) -> None:
        """After each token."""
        print(self._stream.more(text.ids), end="", flush=True)

    def finish(self, text: Text) -> None:
        """At the end."""
        print(self._stream.more(text.ids, last=True), flush=True)


def whole(desk: Desk, prompt: str, text: Text) -> str:
    """The text as a person reads it: of a language model behind its prompt."""
    return desk.show(text.ids) if desk.config.decoder else prompt + desk.show(text.ids)


def _record(file: TextIO, desk: Desk, prompt: str, text: Text, as_json: bool) -> None:
    if not as_json:
        file.write(whole(desk, prompt, text).replace("\n", " ") + "\n")
        return
    values = {
        "prompt": prompt,
        "text": desk.show(text.ids),
        "tokens": len(text.ids),
        "ended": text.ended,
        "log_probability": round(text.log_probability, 4),
    }
    file.write(json.dumps(values, ensure_ascii=False) + "\n")
