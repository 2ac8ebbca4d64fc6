"""Matrix products of linear layers as torch makes them by itself and as `uer_ds/models/products.py` does.

    python bench/products.py              two threads
    python bench/products.py --threads 8

GFLOP/s of a layer's three products (forward with its bias, gradient of its input, gradient of its weight) in float32
and in bfloat16, each the median of some runs, both ways in turn; then whether one product for queries, keys and values
beats three.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
import torch.nn.functional as F
from torch import Tensor

from uer_ds.engine.malloc import keep_freed_memory
from uer_ds.models import products

SHAPES = {
    "tiny, attention": (4096, 128, 128),
    "tiny, feed-forward": (4096, 128, 512),
    "tiny, vocabulary": (614, 128, 20907),
    "small, attention": (4096, 512, 512),
    "small, feed-forward": (4096, 512, 2048),
    "small, vocabulary": (614, 512, 20907),
    "base, feed-forward": (4096, 768, 3072),
}
"""Rows, inputs, outputs."""

WIDTHS = (128, 512, 768)


def seconds(*works: Callable[[], object], rounds: int = 11) -> list[float]:
    """The median of each of `works`, made in turn."""
    found: list[list[float]] = [[] for _ in works]
    for number in range(rounds + 2):
        for times, work in zip(found, works, strict=True):
            began = time.perf_counter()
            work()
            if number >= 2:
                times.append(time.perf_counter() - began)
    return [statistics.median(times) for times in found]


def products_of(rows: int, inputs: int, outputs: int, kind: torch.dtype) -> list[list[float]]:
    """Seconds by torch and by us: forward, gradient of the input, gradient of the weight."""
    shapes = ((rows, inputs), (outputs, inputs), (outputs,), (rows, outputs))
    x, weight, bias, upstream = (torch.randn(shape).to(kind) for shape in shapes)
    return [
        seconds(lambda: F.linear(x, weight, bias), lambda: products.linear(x, weight, bias)),
        seconds(lambda: upstream @ weight, lambda: products.matmul(upstream, weight)),
        seconds(lambda: upstream.T @ x, lambda: products.weight_gradient(upstream, x)),
    ]


def three_or_one(width: int, kind: torch.dtype) -> list[float]:
    """Seconds of three layers of one input, forward and backward, apart and with their weights put together."""
    weights, grads = (
        [torch.randn(shape, dtype=kind, requires_grad=needed) for _ in range(3)]
        for shape, needed in (((width, width), True), ((4096, width), False))
    )
    x = torch.randn(4096, width, dtype=kind, requires_grad=True)

    def run(layers: Callable[[], tuple[Tensor, ...] | list[Tensor]]) -> None:
        for leaf in (x, *weights):
            leaf.grad = None
        torch.autograd.backward(list(layers()), grads)

    return seconds(
        lambda: run(lambda: [products.linear(x, weight) for weight in weights]),
        lambda: run(lambda: products.linear(x, torch.cat(weights)).chunk(3, dim=-1)),
    )


def in_words(kind: torch.dtype) -> str:
    """float32, bfloat16."""
    return str(kind).removeprefix("torch.")


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    torch.set_num_threads(parser.parse_args().threads)
    keep_freed_memory()
    choices = {torch.float32: products.prefers_onednn(), torch.bfloat16: products.multiplies_bfloat16()}
    for kind, is_ours in choices.items():
        print(f"\n{in_words(kind)}, ours: {'yes' if is_ours else 'no'}; GFLOP/s by torch / here\n")
        print("| layer | rows x inputs x outputs | forward | gradient of input | gradient of weight |")
        print("|---|---|---|---|---|")
        for name, shape in SHAPES.items():
            work = 2e-9 * shape[0] * shape[1] * shape[2]
            cells = [f"{work / torchs:.0f} / {work / ours:.0f}" for torchs, ours in products_of(*shape, kind)]
            print(f"| {name} | {' x '.join(map(str, shape))} | {' | '.join(cells)} |")
    print("\n| queries, keys, values of width | type | three products, ms | one product, ms |\n|---|---|---|---|")
    for width in WIDTHS:
        for kind in (torch.float32, torch.bfloat16):
            three, one = three_or_one(width, kind)
            print(f"| {width} | {in_words(kind)} | {three * 1e3:.1f} | {one * 1e3:.1f} |")


if __name__ == "__main__":
    main()
