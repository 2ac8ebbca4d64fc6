"""What pre-training is worth: UER-py's data sets, fine-tuned from a Tiny RoBERTa and from random weights, side by side.

    python bench/finetune.py --datasets DATASETS --corpora CORPORA --vocab_path google_zh_vocab.txt --output FOLDER

DATASETS holds book_review/, msra_ner/ (dev.tsv and test.tsv) and cmrc2018/dev.json, CORPORA the .txt files to pre-train
on (one document a line). Also what UER-py's algorithm gives where it differs: a causal model pooled at its first token
(`--pooling first`), and a prompt whose mlm head is not loaded. Prints a Markdown table and writes finetune_bench.json;
what is there already in FOLDER is not done again. About half an hour on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
CAUSAL = ["--embedding", "word", "pos", "--encoder", "transformer", "--mask", "causal"]
CAUSAL += ["--layernorm_positioning", "pre", "--remove_embedding_layernorm"]


@dataclass(frozen=True)
class Case:
    """One fine-tuning: its row in the table is `data`, `model`; `score` is the test score that is shown."""

    name: str
    data: str
    model: str
    score: str
    words: Sequence[str]


def main() -> None:
    """Pre-train, fine-tune every case, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("datasets", "corpora", "vocab_path", "output"):
        parser.add_argument(f"--{name}", required=True, type=Path)
    parser.add_argument("--pretrain_steps", type=int, default=3000, help="updates of 64 rows x 128 tokens")
    parser.add_argument("--train_rows", type=int, default=4000, help="rows of book_review/train.tsv that are used")
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    pretrained = pretrain(args)
    results: dict[str, Any] = {}
    for case in cases(args, pretrained, split_data(args)):
        scores = finetune(case, args.output / case.name)
        results[case.name] = {"data": case.data, "model": case.model, "score": case.score, **scores}
        print(f"| {case.data} | {case.model} | {case.score} | {scores['test'][case.score]:.3f} |", flush=True)
    Path("finetune_bench.json").write_text(json.dumps(results, indent=1))


def uer_ds(*words: object) -> None:
    """Run one command; its output goes on to ours only when it fails."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "DS_ACCELERATOR": os.environ.get("DS_ACCELERATOR", "cpu")}
    done = subprocess.run(
        [sys.executable, "-m", "uer_ds", *map(str, words)], env=environ, text=True, capture_output=True
    )
    if done.returncode:
        sys.exit(f"{' '.join(map(str, words))}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def pretrain(args: argparse.Namespace) -> Path:
    """The run folder of a Tiny RoBERTa, trained on all corpora."""
    run, dataset = args.output / "pretrained", args.output / "dataset"
    uer_ds("preprocess", "--corpus_path", args.corpora, "--vocab_path", args.vocab_path, "--dataset_path", dataset,
           "--processes_num", 2, "--data_processor", "mlm")  # fmt: skip
    uer_ds("pretrain", "--ds_config", "zero0_bf16", "--dataset_path", dataset, "--output_model_path", run,
           "--config_path", "bert/tiny_config", "--data_processor", "mlm", "--target", "mlm", "--batch_size", 64,
           "--total_steps", args.pretrain_steps, "--save_checkpoint_steps", 500, "--keep_checkpoints", 1,
           "--learning_rate", "2e-3", "--warmup", 0.05, "--correct_bias", "--max_grad_norm", 1.0)  # fmt: skip
    return run / f"checkpoint-{args.pretrain_steps}"


def split_data(args: argparse.Namespace) -> Path:
    """A folder with train, dev and test files of each data set, made of the parts that are there."""
    folder: Path = args.output / "data"
    folder.mkdir(exist_ok=True)
    book, tags = args.datasets / "book_review", args.datasets / "msra_ner"
    write(folder / "book_train.tsv", lines(book / "train.tsv")[: args.train_rows + 1])
    write(folder / "few_train.tsv", lines(book / "train.tsv")[:201])
    for part in ("dev", "test"):
        write(folder / f"book_{part}.tsv", lines(book / f"{part}.tsv")[:2001])
    write(folder / "ner_train.tsv", lines(tags / "dev.tsv"))
    header, *rows = lines(tags / "test.tsv")
    write(folder / "ner_dev.tsv", [header, *rows[::2]])
    write(folder / "ner_test.tsv", [header, *rows[1::2]])
    questions = json.loads((args.datasets / "cmrc2018" / "dev.json").read_text(encoding="utf-8"))["data"]
    for name, part in {"train": questions[:-200], "dev": questions[-200:-100], "test": questions[-100:]}.items():
        (folder / f"cmrc_{name}.json").write_text(json.dumps({"data": part}, ensure_ascii=False), encoding="utf-8")
    return folder


def lines(path: Path) -> list[str]:
    """The lines of a text file."""
    return path.read_text(encoding="utf-8").removesuffix("\n").split("\n")


def write(path: Path, text: list[str]) -> None:
    """A text file of these lines."""
    path.write_text("\n".join(text) + "\n", encoding="utf-8")


def cases(args: argparse.Namespace, pretrained: Path, data: Path) -> Iterator[Case]:
    """Everything that is compared."""

    def files(name: str, ending: str, train: str = "") -> list[str]:
        parts = {"train": train or name, "dev": name, "test": name}
        return [word for part, of in parts.items() for word in (f"--{part}_path", f"{data}/{of}_{part}.{ending}")]

    scratch = ["--config_path", "bert/tiny_config", "--vocab_path", str(args.vocab_path)]
    starts = (("pre-trained", ["--pretrained_model_path", str(pretrained)]), ("from scratch", scratch))
    tasks = (
        ("book", "book_review", "accuracy", ["classifier", *files("book", "tsv"), "--learning_rate", "3e-4"]),
        ("ner", "msra_ner", "f1", ["ner", *files("ner", "tsv"), "--learning_rate", "1e-3", "--epochs_num", "6"]),
        ("crf", "msra_ner, CRF", "f1",
         ["ner", *files("ner", "tsv"), "--crf_target", "--learning_rate", "1e-3", "--epochs_num", "6"]),
        ("cmrc", "cmrc2018", "f1",
         ["cmrc", *files("cmrc", "json"), "--seq_length", "512", "--learning_rate", "5e-4", "--epochs_num", "4"]),
    )  # fmt: skip
    for name, title, score, words in tasks:
        for model, start in starts:
            yield Case(f"{name}-{model.split()[-1]}", title, f"Tiny RoBERTa, {model}", score, [*words, *start])
    few = ["prompt", *files("book", "tsv", "few"), "--learning_rate", "3e-4", "--epochs_num", "5"]
    body = pretrained.parent / "body.safetensors"
    without_head(pretrained / "model.safetensors", body)
    headless = ["--pretrained_model_path", str(body), *scratch]
    yield Case("prompt", "book_review, 200 rows", "prompt", "accuracy", [*few, *starts[0][1]])
    yield Case("prompt-headless", "book_review, 200 rows", "prompt, head not loaded (UER-py)", "accuracy",
               [*few, *headless])  # fmt: skip
    causal = ["classifier", *files("book", "tsv"), *scratch, *CAUSAL, "--learning_rate", "1e-3"]
    yield Case("causal-last", "book_review", "causal, from scratch", "accuracy", causal)
    yield Case("causal-first", "book_review", "causal, pooled at [CLS] (UER-py)", "accuracy",
               [*causal, "--pooling", "first"])  # fmt: skip


def without_head(source: Path, target: Path) -> None:
    """A weights file without the targets of pre-training."""
    from safetensors.torch import load_file, save_file

    save_file({name: tensor for name, tensor in load_file(source).items() if not name.startswith("target.")}, target)


def finetune(case: Case, output: Path) -> dict[str, Any]:
    """The scores of a case, from its folder or by training."""
    if not (output / "scores.json").is_file():
        uer_ds("finetune", *case.words, "--output_model_path", output, "--correct_bias")
    scores: dict[str, Any] = json.loads((output / "scores.json").read_text())
    return scores


if __name__ == "__main__":
    main()
