"""Tokens a second of generation: with a past, as `uer-ds generate` works, and reading the whole text for every token.

    python bench/generate.py                        gpt2/distil, 512 new tokens, 1 and 8 texts
    python bench/generate.py --config_path t5/small --batch_sizes 1

Random weights, greedy, no text ends early; the long way is UER-py's loop without gradients. Both write the same tokens,
or the script says so and ends with status 1. Prints a Markdown table; --json FILE keeps the figures.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from uer_ds.config.generate import DecodingConfig
from uer_ds.config.model import model_config_from_dict
from uer_ds.data.batch import Batch, padded
from uer_ds.engine.cores import use_cores
from uer_ds.engine.machine import device
from uer_ds.generate.writing import Prompt, Rules, write
from uer_ds.models.model import Model, build_model
from uer_ds.models.zoo import model_values

VOCABULARY = 21128
BEGIN = 101


def main() -> int:
    """Measure, compare, print; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config_path", default="gpt2/distil", help="model JSON, or the name of one")
    parser.add_argument("--prompt_tokens", type=int, default=32)
    parser.add_argument("--new_tokens", type=int, default=512)
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    use_cores()
    torch.manual_seed(0)
    config = model_config_from_dict({**model_values(args.config_path, "--config_path"), "vocab_size": VOCABULARY})
    model = build_model(config).to(device()).eval()
    print("| texts | remembering, tokens/s | reading anew, tokens/s | ratio |\n|---|---|---|---|")
    results, same = list[dict[str, Any]](), True
    for rows in args.batch_sizes:
        ids = torch.randint(200, VOCABULARY, (rows, args.prompt_tokens)).tolist()
        prompts = [Prompt(n, [BEGIN, *row], [BEGIN] if model.decoder else []) for n, row in enumerate(ids)]
        fast, seconds = timed(remembering, model, prompts, args.new_tokens)
        slow, slow_seconds = timed(anew, model, prompts, args.new_tokens)
        same = same and fast == slow
        rates = [rows * args.new_tokens / each for each in (seconds, slow_seconds)]
        results.append({"rows": rows, "rate": rates[0], "rate_anew": rates[1], "same_tokens": fast == slow})
        print(f"| {rows} | {rates[0]:,.0f} | {rates[1]:,.1f} | {rates[0] / rates[1]:.1f} |", flush=True)
    if args.json:
        args.json.write_text(json.dumps(results, indent=1))
    print("" if same else "the tokens differ")
    return int(not same)


def timed(function: Any, *arguments: Any) -> tuple[list[list[int]], float]:
    """What it gives, and how long it took."""
    began = time.perf_counter()
    found = function(*arguments)
    return found, time.perf_counter() - began


def remembering(model: Model, prompts: list[Prompt], count: int) -> list[list[int]]:
    """`uer-ds generate`'s way."""
    *_, texts = write(model, prompts, Rules(DecodingConfig(greedy=True), count, None))
    return [text.ids for text in texts]


@torch.no_grad()
def anew(model: Model, prompts: list[Prompt], count: int) -> list[list[int]]:
    """The whole text through the model for every token."""
    source = padded([prompt.ids for prompt in prompts]).to(device())
    begin = torch.tensor([prompt.begin or prompt.ids for prompt in prompts], device=device())
    ids = begin
    for _ in range(count):
        batch = Batch(ids, torch.ones_like(ids))
        if model.decoder is not None:
            batch = Batch(source.ids, source.segments, decoder=batch)
        hidden = model.output(batch)
        logits = model.target["lm"].logits(hidden[:, -1:], batch.segments)  # type: ignore[operator]
        ids = torch.cat([ids, logits[:, 0].argmax(-1, keepdim=True)], dim=1)
    return ids[:, begin.size(1) :].tolist()


if __name__ == "__main__":
    sys.exit(main())
