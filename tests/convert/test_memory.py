"""Conversions stream: the memory they need is that of a few tensors, not of the model."""

from __future__ import annotations

import json
import math
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HIDDEN, LAYERS, VOCABULARY = 1024, 8, 2000
MODEL_MB = 380
ALLOWED_MB = 270  # the largest tensor has 16 MB; the rest is code that torch loads when it is first used

CONVERT = """
import sys
from uer_ds.convert import convert

def peak_mb():
    status = dict(line.split(":", 1) for line in open("/proc/self/status"))
    return int(status["VmHWM"].split()[0]) / 1024

source, output, to = sys.argv[1:]
before = peak_mb()
convert(source, output, to=to, heads_num=16, verify=False)
print(peak_mb() - before)
"""


def shapes() -> dict[str, tuple[int, ...]]:
    """Tensors of a GPT-2 under UER's names."""
    found: dict[str, tuple[int, ...]] = {
        "embedding.word.embedding.weight": (VOCABULARY, HIDDEN),
        "embedding.pos.embedding.weight": (64, HIDDEN),
        "target.lm.output_layer.weight": (VOCABULARY, HIDDEN),
    }
    norms = ["encoder.layer_norm"]
    for layer in (f"encoder.transformer.{number}" for number in range(LAYERS)):
        matrices = {f"self_attn.linear_layers.{n}": (HIDDEN, HIDDEN) for n in range(3)}
        matrices["self_attn.final_linear"] = (HIDDEN, HIDDEN)
        matrices["feed_forward.linear_1"] = (4 * HIDDEN, HIDDEN)
        matrices["feed_forward.linear_2"] = (HIDDEN, 4 * HIDDEN)
        for name, shape in matrices.items():
            found |= {f"{layer}.{name}.weight": shape, f"{layer}.{name}.bias": shape[:1]}
        norms += [f"{layer}.layer_norm_{n}" for n in (1, 2)]
    return found | {f"{norm}.{part}": (HIDDEN,) for norm in norms for part in ("gamma", "beta")}


def sparse_model(path: Path) -> None:
    """A safetensors file of zeros that takes no room on the disk."""
    header, position = {}, 0
    for name, shape in shapes().items():
        end = position + 4 * math.prod(shape)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [position, end]}
        position = end
    encoded = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(encoded)) + encoded)
        file.truncate(8 + len(encoded) + position)
    assert position > MODEL_MB << 20


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_memory_stays_small(tmp_path):
    sparse_model(tmp_path / "model.safetensors")
    steps = [("model.safetensors", "model.bin", "uer"), ("model.bin", "hf", "huggingface")]
    for source, output, to in steps:
        command = [sys.executable, "-c", CONVERT, str(tmp_path / source), str(tmp_path / output), to]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "MALLOC_ARENA_MAX": "1", "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert float(done.stdout) < ALLOWED_MB, (source, to)
