"""The quickstart's closing page: what the exported model fills into held-out sentences, and a table of the run.

Everything is read from the files that the run left in FOLDER; the exported model is loaded by `transformers`, as its
users would load it.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from uer_ds.config.model import model_config_from_dict
from uer_ds.errors import UserError
from uer_ds.storage.files import read_json_object
from uer_ds.storage.places import CONFIG_FILE, EVALUATION_FILE, METRICS_FILE, find_checkpoints
from uer_ds.train.checkpoint import read_state

TOP = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One argument: the quickstart's folder."""
    parser.add_argument("folder", metavar="FOLDER", help="the quickstart's folder (text, run, huggingface)")


def run(args: argparse.Namespace) -> int:
    """Print the cloze sentences and the table."""
    folder = Path(args.folder)
    checkpoints = find_checkpoints(folder / "run")
    if not checkpoints:
        raise UserError(f"{folder / 'run'}: no checkpoint found; run quickstart.sh first.")
    show_cloze(folder, checkpoints[-1])
    show_table(folder, checkpoints[-1])
    return 0


def show_cloze(folder: Path, checkpoint: Path) -> None:
    """Print each held-out sentence with the most probable fillings, trained and untrained."""
    from transformers import AutoModelForMaskedLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    tokenizer = AutoTokenizer.from_pretrained(folder / "huggingface")
    trained = AutoModelForMaskedLM.from_pretrained(folder / "huggingface").eval()
    untrained = AutoModelForMaskedLM.from_config(trained.config).eval()  # same architecture, random weights
    for line in (folder / "text" / "cloze.txt").read_text(encoding="utf-8").splitlines():
        sentence, answer = line.split("\t")
        print(f"\n{sentence.replace('[MASK]', '[  ]')}    (was: {answer})")
        for name, model in (("trained", trained), ("untrained", untrained)):
            print(f"  {name.ljust(9)} {'  '.join(fill(model, tokenizer, sentence))}")


def fill(model: Any, tokenizer: Any, sentence: str) -> list[str]:
    """The `TOP` most probable tokens at the sentence's [MASK], with their probabilities."""
    import torch

    inputs = tokenizer(sentence, return_tensors="pt")
    place = (inputs["input_ids"][0] == tokenizer.mask_token_id).nonzero()[0, 0]
    with torch.no_grad():
        probabilities = model(**inputs).logits[0, place].softmax(-1)
    best = probabilities.topk(TOP)
    tokens = tokenizer.convert_ids_to_tokens(best.indices.tolist())
    return [f"{token} {value:.1%}" for token, value in zip(tokens, best.values.tolist(), strict=True)]


def show_table(folder: Path, checkpoint: Path) -> None:
    """Print the run in numbers, as its files have them."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title="\nthe run in numbers", show_header=False)
    for name, value in table_rows(folder, checkpoint):
        table.add_row(name, value)
    Console().print(table)
    output = folder / "run"
    print(f"watch it:  tensorboard --logdir {output / 'tensorboard'}")
    print(f"go on:     run it longer: QUICKSTART_STEPS=6000 bash quickstart.sh {folder}-longer")
    print("next:      uer-ds pretrain --help, or README.md: bring your own text")


def table_rows(folder: Path, checkpoint: Path) -> list[tuple[str, str]]:
    """Names and values of the closing table."""
    output = folder / "run"
    metrics, evaluations = (read_lines(output / name) for name in (METRICS_FILE, EVALUATION_FILE))
    state = read_state(checkpoint)
    model = model_config_from_dict(read_json_object(checkpoint / CONFIG_FILE))
    rates = sorted(report["tokens_per_second"] for report in metrics)
    first, last = evaluations[0], evaluations[-1]
    scratch, tuned = (read_f1(folder / name) for name in ("from_scratch", "names"))
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [
        ("model", f"{model.layers_num} layers, {model.hidden_size} wide, {model.vocab_size:,} tokens of vocabulary"),
        ("tokens trained on", f"{state.tokens:,} in {state.updates:,} updates"),
        ("tokens/s (median)", f"{rates[len(rates) // 2]:,.0f}"),
        ("training loss", f"{metrics[0]['loss']:.3f} at update {metrics[0]['update']} -> {metrics[-1]['loss']:.3f}"),
        ("held-out loss", f"{first['loss']:.3f} untrained -> {last['loss']:.3f}"),
        ("held-out masked accuracy", f"{first['accuracy']:.1%} untrained -> {last['accuracy']:.1%}"),
        ("F1 of names, held-out", f"{scratch:.1%} from scratch -> {tuned:.1%} pre-trained"),
        ("files written", f"{len(files)} files, {sum(p.stat().st_size for p in files) / 1e6:.0f} MB in {folder}"),
    ]


def read_f1(folder: Path) -> float:
    """The F1 on the test file of a fine-tuning run."""
    return float(read_json_object(folder / "scores.json")["test"]["f1"])


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a .jsonl file."""
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, json.JSONDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); run quickstart.sh again.") from error
    if not lines:
        raise UserError(f"{path}: is empty; run quickstart.sh again.")
    return lines
