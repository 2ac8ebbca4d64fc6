"""Memory and speed of a conversion: a synthetic GPT-2 under UER's names, sparse on the disk, to a Hugging Face folder.

    python bench/convert_memory.py [--gigabytes 10] [--folder /tmp]

The folder needs room for the output. Prints the highest resident memory of the converting process, and what of it is
beyond the imports; pages of mapped files count.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WIDTH, VOCABULARY = 4096, 50000
CONVERT = """
import sys, torch
from uer_ds.convert import convert

def peak_mb():
    status = dict(line.split(":", 1) for line in open("/proc/self/status"))
    return int(status["VmHWM"].split()[0]) / 1024

before = peak_mb()
convert(sys.argv[1], sys.argv[2], to="huggingface", heads_num=32, verify=False)
print(before, peak_mb())
"""


def shapes(gigabytes: float) -> dict[str, tuple[int, ...]]:
    """Tensors of a GPT-2 of about that size in float32."""
    found: dict[str, tuple[int, ...]] = {
        "embedding.word.embedding.weight": (VOCABULARY, WIDTH),
        "embedding.pos.embedding.weight": (1024, WIDTH),
        "target.lm.output_layer.weight": (VOCABULARY, WIDTH),
    }
    layers = max(1, round((gigabytes * 1e9 / 4 - 2 * VOCABULARY * WIDTH) / (12 * WIDTH**2)))
    norms = ["encoder.layer_norm"]
    for layer in (f"encoder.transformer.{number}" for number in range(layers)):
        matrices = {f"self_attn.linear_layers.{n}": (WIDTH, WIDTH) for n in range(3)}
        matrices["self_attn.final_linear"] = (WIDTH, WIDTH)
        matrices["feed_forward.linear_1"] = (4 * WIDTH, WIDTH)
        matrices["feed_forward.linear_2"] = (WIDTH, 4 * WIDTH)
        for name, shape in matrices.items():
            found |= {f"{layer}.{name}.weight": shape, f"{layer}.{name}.bias": shape[:1]}
        norms += [f"{layer}.layer_norm_{n}" for n in (1, 2)]
    return found | {f"{norm}.{part}": (WIDTH,) for norm in norms for part in ("gamma", "beta")}


def sparse_model(path: Path, gigabytes: float) -> int:
    """Write a safetensors file of zeros that takes no room; returns its size in bytes."""
    header, position = {}, 0
    for name, shape in shapes(gigabytes).items():
        end = position + 4 * math.prod(shape)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [position, end]}
        position = end
    encoded = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(encoded)) + encoded)
        file.truncate(8 + len(encoded) + position)
    return position


def main() -> None:
    """Convert once in a process of its own and print its peak."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=10.0, help="size of the model (default: 10)")
    parser.add_argument("--folder", default=tempfile.gettempdir(), help="where input and output are written")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        source = Path(folder, "model.safetensors")
        size = sparse_model(source, args.gigabytes)
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        start = time.perf_counter()
        command = [sys.executable, "-c", CONVERT, str(source), str(Path(folder, "hf"))]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
        seconds = time.perf_counter() - start
    before, peak = (float(number) / 1000 for number in done.stdout.split()[-2:])
    print(f"model {size / 1e9:.1f} GB, peak {peak:.2f} GB ({peak - before:.2f} GB beyond imports), {seconds:.0f} s")


if __name__ == "__main__":
    main()
