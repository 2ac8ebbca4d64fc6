"""The same work through Hugging Face's Trainer and through this project's training, in turn on one machine.

    python bench/compare_hf.py                                   bert tiny and small, float32 and bfloat16
    python bench/compare_hf.py --models tiny --precisions bf16 --repeat 3

transformers' BertForMaskedLM of the same sizes and vocabulary with its Trainer and DataCollatorForLanguageModeling at
their defaults, against bench/train.py under ZeRO 1; what is compared stands in bench/peers.py. Prints a Markdown table;
--json FILE keeps the figures. Needs the extra `hf`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.peers import WARM_UP, compare, comparison_parser, output
from bench.train import VOCABULARY
from uer_ds.config.resources import find_json


def main() -> None:
    """Measure every pair and print the table."""
    parser = comparison_parser(__doc__, ["fp32", "bf16"])
    parser.add_argument("--only_hf", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.only_hf:
        print(json.dumps(huggingface(args)))
    else:
        compare(args, "Hugging Face Trainer", one_huggingface)


def one_huggingface(args: argparse.Namespace, model: str, precision: str) -> float:
    """Tokens a second of a Trainer, in a process of its own."""
    words = ["--only_hf", model, "--precisions", precision]
    for name in ("batch_size", "seq_length", "updates"):
        words += [f"--{name}", str(getattr(args, name))]
    return float(json.loads(output([sys.executable, __file__, *words])[0].splitlines()[-1]))


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
