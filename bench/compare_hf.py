"""The same work through Hugging Face's Trainer and through this project's training, in turn on one machine.

    python bench/compare_hf.py                                   bert tiny and small, float32 and bfloat16
    python bench/compare_hf.py --models tiny --precisions bf16 --repeat 3

Masked language modelling on full rows of random characters, 15 % of the tokens masked, AdamW, one process on all cores:
transformers' BertForMaskedLM of the same sizes and vocabulary with its Trainer and DataCollatorForLanguageModeling at
their defaults, against bench/train.py under ZeRO 1. Runs alternate, the best of --repeat counts for both sides, and the
ratio is what a noisy machine leaves standing. Prints a Markdown table; --json FILE keeps the figures. Needs the extra
`hf`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.train import VOCABULARY
from uer_ds.config.resources import find_json

ROOT = Path(__file__).resolve().parents[1]
WARM_UP = 3


def main() -> None:
    """Measure every pair and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["tiny", "small"], help="sizes of models/bert")
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"], choices=["fp32", "bf16"])
    parser.add_argument("--batch_size", type=int, default=32, help="rows")
    parser.add_argument("--seq_length", type=int, default=128)
    parser.add_argument("--updates", type=int, default=10)
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only_hf", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.only_hf:
        print(json.dumps(huggingface(args)))
        return
    print("| model | precision | Hugging Face Trainer | uer_ds | ratio |\n|---|---|---|---|---|")
    found = []
    for model in args.models:
        for precision in args.precisions:
            speeds: dict[str, float] = {"hf": 0.0, "uer_ds": 0.0}
            for _ in range(args.repeat):
                for side, measure in (("hf", one_huggingface), ("uer_ds", one_ours)):
                    speeds[side] = max(speeds[side], measure(args, model, precision))
            ratio = speeds["uer_ds"] / speeds["hf"]
            found.append({"model": model, "precision": precision, **speeds, "ratio": ratio})
            print(
                f"| {model} | {precision} | {speeds['hf']:,.0f} | {speeds['uer_ds']:,.0f} | {ratio:.2f} |", flush=True
            )
    if args.json:
        args.json.write_text(json.dumps(found, indent=1))


def sizes(args: argparse.Namespace) -> list[str]:
    """The options that both sides share."""
    names = ("batch_size", "seq_length", "updates")
    return [word for name in names for word in (f"--{name}", str(getattr(args, name)))]


def one_huggingface(args: argparse.Namespace, model: str, precision: str) -> float:
    """Tokens a second of a Trainer, in a process of its own."""
    words = ["--only_hf", model, "--precisions", precision, *sizes(args)]
    return float(json.loads(output([sys.executable, __file__, *words]).splitlines()[-1]))


def one_ours(args: argparse.Namespace, model: str, precision: str) -> float:
    """Tokens a second of bench/train.py."""
    with tempfile.TemporaryDirectory() as folder:
        options = ["--config_path", f"bert/{model}_config", "--batch_size", str(args.batch_size)]
        options += ["--seq_length", str(args.seq_length), "--ds_config", "zero1" + "_bf16" * (precision == "bf16")]
        path = Path(folder) / "figures.json"
        words = ["--updates", str(args.updates), "--warm_up", str(WARM_UP), "--json", str(path), "--", *options]
        output([sys.executable, str(ROOT / "bench/train.py"), *words])
        return float(json.loads(path.read_text())["tokens_per_second"])


def output(command: list[str]) -> str:
    """What a command prints; ends this process with its words when it fails."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return done.stdout


def huggingface(args: argparse.Namespace) -> float:
    """Tokens a second of transformers' Trainer."""
    import random

    import torch
    from transformers import (
        BertConfig,
        BertForMaskedLM,
        BertTokenizerFast,
        DataCollatorForLanguageModeling,
        Trainer,
        TrainerCallback,
        TrainingArguments,
    )

    shape = json.loads(find_json("models", f"bert/{args.only_hf}_config", "compare").read_text())
    config = BertConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=shape["hidden_size"],
        num_hidden_layers=shape["layers_num"],
        num_attention_heads=shape["heads_num"],
        intermediate_size=shape["feedforward_size"],
        max_position_embeddings=shape["max_seq_length"],
        hidden_dropout_prob=shape["dropout"],
        attention_probs_dropout_prob=shape["dropout"],
    )
    draw = random.Random(1)
    words = range(5, len(VOCABULARY))
    rows = [
        {"input_ids": [2, *draw.choices(words, k=args.seq_length - 2), 3]}
        for _ in range((WARM_UP + args.updates) * args.batch_size)
    ]

    class Clock(TrainerCallback):  # type: ignore[misc]
        """Seconds from the end of the warm-up to the end."""

        began = ended = 0.0

        def on_step_end(self, given: Any, state: Any, control: Any, **others: Any) -> None:
            if state.global_step == WARM_UP:
                self.began = time.perf_counter()
            self.ended = time.perf_counter()

    with tempfile.TemporaryDirectory() as folder:
        vocabulary = Path(folder) / "vocab.txt"
        vocabulary.write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
        clock = Clock()
        Trainer(
            model=BertForMaskedLM(config),
            args=TrainingArguments(
                output_dir=folder,
                per_device_train_batch_size=args.batch_size,
                max_steps=WARM_UP + args.updates,
                bf16=args.precisions == ["bf16"],
                use_cpu=not torch.cuda.is_available(),
                save_strategy="no",
                logging_strategy="no",
                report_to=[],
                disable_tqdm=True,
            ),
            train_dataset=rows,
            data_collator=DataCollatorForLanguageModeling(BertTokenizerFast(str(vocabulary))),
            callbacks=[clock],
        ).train()
    return args.updates * args.batch_size * args.seq_length / (clock.ended - clock.began)


if __name__ == "__main__":
    main()
