"""The same work through UER-py and through this project's training, in turn on one machine's CPU.

    git clone https://github.com/dbiir/UER-py
    python bench/compare_uer.py --uer UER-py                       bert tiny and small
    python bench/compare_uer.py --uer UER-py --models tiny --repeat 3

UER-py's own preprocess.py and pretrain.py at their defaults, in a process of its own: its last report of --updates
updates counts, the first, in which it starts, does not. UER-py computes in float32 on a CPU; in bfloat16 the left
column is still that. What is compared stands in bench/peers.py. Needs what UER-py imports: `pip install six regex`.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.peers import compare, comparison_parser, output
from bench.train import VOCABULARY
from uer_ds.config.resources import find_json


def main() -> None:
    """Measure every pair and print the table."""
    parser = comparison_parser(__doc__, ["fp32", "bf16"])
    parser.add_argument("--uer", type=Path, required=True, help="a clone of UER-py")
    args = parser.parse_args()
    compare(args, "UER-py (fp32)", uer_speed)


def uer_speed(args: argparse.Namespace, model: str, precision: str) -> float:
    """Tokens a second as pretrain.py reports them."""
    with tempfile.TemporaryDirectory() as name:
        folder, uer = Path(name), args.uer.resolve()
        shape = json.loads(find_json("models", f"bert/{model}_config", "compare").read_text())
        shape |= {"data_processor": "mlm", "target": ["mlm"]}
        (folder / "config.json").write_text(json.dumps(shape))
        (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
        # Files that UER-py opens by their paths from where it is started.
        (folder / "models").symlink_to(uer / "models")
        draw = random.Random(1)
        texts = ("".join(draw.choices(VOCABULARY[5:], k=args.seq_length - 2)) for _ in range(20 * args.batch_size))
        (folder / "corpus.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
        shared = ["--vocab_path", str(folder / "vocab.txt"), "--dataset_path", str(folder / "dataset.pt")]
        words = ["--corpus_path", str(folder / "corpus.txt"), "--data_processor", "mlm"]
        words += ["--seq_length", str(args.seq_length)]
        output([sys.executable, str(uer / "preprocess.py"), *shared, *words], folder)
        words = ["--config_path", str(folder / "config.json"), "--output_model_path", str(folder / "model.bin")]
        words += ["--batch_size", str(args.batch_size), "--report_steps", str(args.updates)]
        words += ["--total_steps", str(2 * args.updates)]
        _, said = output([sys.executable, str(uer / "pretrain.py"), *shared, *words], folder)
        return float(re.findall(r"\|\s*([\d.]+) tokens/s", said)[-1])


if __name__ == "__main__":
    main()
