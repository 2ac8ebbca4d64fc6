"""One GPU, at last: is everything right on it, and how fast is it? What bench/gpu.sh runs.

    python bench/gpu.py prepare DATA            dataset and model, on any machine (preprocessing needs numba)
    python bench/gpu.py check DATA check.json   goldens, packed rows, ZeRO stages, resuming; status 1 if wrong
    python bench/gpu.py time DATA time.json     bench/train.py for the models of the table, while --seconds last

`check` and `time` use the device that DeepSpeed finds; `check` runs on a CPU too, where the tests run it.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from bench.train import make_dataset
from tests.models.golden_families import HERE, family
from tests.runs.reference import read_config, reference_losses
from tests.runs.stop_after import StopAfter
from uer_ds.config.model import model_config_from_dict
from uer_ds.config.resources import find_json
from uer_ds.data.batch import IGNORE, Batch
from uer_ds.engine import distributed
from uer_ds.engine.machine import device
from uer_ds.launch.leaving import leave
from uer_ds.launch.place import find_place
from uer_ds.models.model import Model, build_model
from uer_ds.models.weights import load_weights
from uer_ds.storage.files import read_json_object
from uer_ds.train.pretrain import Trainer

ROOT = Path(__file__).resolve().parents[1]

TINY = {
    "emb_size": 64,
    "hidden_size": 64,
    "feedforward_size": 256,
    "heads_num": 2,
    "layers_num": 2,
    "max_seq_length": 512,
    "dropout": 0.0,
    "encoder": "transformer",
}
MLM = {**TINY, "embedding": ["word", "pos", "seg"], "mask": "fully_visible", "target": ["mlm"], "tie_weights": True}
LM = {**TINY, "embedding": ["word"], "mask": "causal", "target": ["lm"], "layernorm_positioning": "pre"}
T5 = {
    **TINY,
    "embedding": ["word"],
    "tgt_embedding": ["word"],
    "decoder": "transformer",
    "relative_position_embedding": True,
    "mask": "fully_visible",
    "target": ["lm"],
}

STAGES = {"zero0": 1e-3, "zero1": 1e-3, "zero2": 1e-3, "zero3": 1e-3, "zero2_offload": 1e-3, "zero3_offload": 1e-3}
STAGES |= {"zero2_bf16": 2e-2, "zero3_bf16": 2e-2}
"""DeepSpeed JSON -> how far, as a share, a loss may be from that of the plain loop on the CPU."""

UPDATES = 8

CASES: dict[str, list[str]] = {
    "bert base, 32 x 512": ["--config_path", "bert/base_config", "--batch_size", "32", "--seq_length", "512"],
    "bert base, 32 x 512, compiled": [
        *("--config_path", "bert/base_config", "--batch_size", "32", "--seq_length", "512", "--compile"),
    ],
    "bert large, 32 x 512, compiled": [
        *("--config_path", "bert/large_config", "--batch_size", "32", "--seq_length", "512", "--compile"),
    ],
    "gpt2, 16 x 1024, compiled": [
        *("--config_path", "gpt2/config", "--batch_size", "16", "--seq_length", "1024", "--compile"),
        *("--data_processor", "lm", "--target", "lm"),
    ],
    "t5 base, 32 x 512, compiled": [
        *("--config_path", "t5/base_config", "--batch_size", "32", "--seq_length", "512", "--compile"),
        *("--data_processor", "t5", "--target", "lm"),
    ],
    "gpt2 xlarge, 8 x 1024, compiled": [
        *("--config_path", "gpt2/xlarge_config", "--batch_size", "8", "--seq_length", "1024", "--compile"),
        *("--data_processor", "lm", "--target", "lm"),
    ],
}
"""Options of bench/train.py behind `--`; what fits, in the order of importance."""


def main() -> int:
    """What the command line says; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["prepare", "check", "time"])
    parser.add_argument("data", type=Path)
    parser.add_argument("json", type=Path, nargs="?")
    parser.add_argument("--seconds", type=float, default=300, help="time: start no case after so many")
    parser.add_argument("--updates", type=int, default=20, help="time: updates of each case")
    parser.add_argument("--local_rank", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.what == "prepare":
        args.data.mkdir(parents=True, exist_ok=True)
        make_dataset(args.data, document_tokens=400)
        (args.data / "model.json").write_text(json.dumps(MLM))
        return 0
    results = Results(args.json)
    if args.what == "time":
        measure(args.data, args.seconds, args.updates, results)
    else:
        check(args.data, results)
    return int(args.what == "check" and not all(result["right"] for result in results.values()))


class Results(dict[str, Any]):
    """What was found, by name, written to a file each time: a visit that ends early has told something."""

    def __init__(self, file: Path | None):
        super().__init__()
        self._file = file

    def __setitem__(self, name: str, result: Any) -> None:
        super().__setitem__(name, result)
        if self._file:
            self._file.write_text(json.dumps(self, indent=1))


# -- checking ----------------------------------------------------------------------------------------------------------


def check(data: Path, results: Results) -> None:
    """Every check by name: {"right": bool, "off": largest relative difference, ...}; one that breaks is wrong."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False

    def add(name: str, allowed: float, find: Callable[..., float | None], *values: Any) -> None:
        try:
            found = find(*values)
        except Exception as error:
            traceback.print_exc()
            found, results[name] = None, {"right": False, "error": f"{type(error).__name__}: {error}"[:3000]}
            print(f"WRONG {name}: broken")
        if found is not None:
            results[name] = {"right": bool(found <= allowed), "off": found, "allowed": allowed}
            mark = "ok   " if results[name]["right"] else "WRONG"
            print(f"{mark} {name}: off by {found:.1e}, allowed {allowed:.0e}")

    def stage_difference(name: str) -> float:
        return difference(losses(train(group, data, f"stage_{name}", name, UPDATES)), reference)

    def resuming_difference(name: str) -> float:
        whole = losses(train(group, data, f"whole_{name}", name, UPDATES, dropout=0.1))
        train(group, data, f"parts_{name}", name, UPDATES, dropout=0.1, stop=UPDATES // 2)
        return difference(losses(train(group, data, f"parts_{name}", name, UPDATES, dropout=0.1)), whole)

    with distributed.joined(find_place(os.environ)) as group:
        for name in sorted(path.name for path in HERE.iterdir()):
            for kind, allowed in ((torch.float32, 1e-4), (torch.bfloat16, 5e-2)):
                add(f"golden {name} {kind}".replace("torch.", ""), allowed, golden_difference, name, kind)
        for name, sizes in {"mlm": MLM, "lm": LM, "t5": T5}.items():
            for kind, allowed in ((torch.float32, 1e-4), (torch.bfloat16, 3e-2)):
                add(f"packed {name} {kind}".replace("torch.", ""), allowed, packing_difference, sizes, kind)
        if device().type == "cuda":
            for name, sizes in {"mlm": MLM, "lm": LM, "t5": T5}.items():
                add(f"no waiting {name}", 0.0, waits, sizes)
        reference = reference_losses(read_config(options(data, data / "none", "zero1")), 16)
        for name, allowed in STAGES.items():
            add(f"training {name}", allowed, stage_difference, name)
        for name in ("zero1_bf16", "zero3_bf16"):
            add(f"resuming {name}", 0.0, resuming_difference, name)


def golden_difference(name: str, kind: torch.dtype) -> float | None:
    """Of the summed losses of a golden family from UER-py's; None for those with another head or a quirk."""
    case = family(name, "normal")
    if case.meta["kind"] == "siamese" or name.startswith("cls_pair") or "not_tied" in name:
        return None
    model = build_model(case.config()).eval()
    load_weights(model, case.weights)
    model = model.to(device(), kind)
    batch, worst = case.batch(), 0.0
    with torch.no_grad():
        terms = model(batch.to(device()))
    for key, (total, _) in terms.items():
        label = key.removeprefix("loss_")
        if key != label:
            wanted = float(case.io[case.golden_name("loss", label)]) * case.denominator(label)
            worst = max(worst, abs(float(total) - wanted) / abs(wanted))
    return worst


def packing_difference(sizes: dict[str, Any], kind: torch.dtype) -> float:
    """Of the loss and the gradient's norm of packed rows in `kind` from those of single documents in float32."""
    torch.manual_seed(0)
    model = build_model(model_config_from_dict({**sizes, "vocab_size": 500})).to(device()).train()
    lengths = [[100, 30, 70, 56], [9, 200, 40]]  # the second row ends in padding
    rows = [[torch.randint(5, 500, (1, length)) for length in row] for row in lengths]
    single = [summed(model, [one_document(model, ids) for row in rows for ids in row])]
    packed = summed(model.to(kind), [pack(model, rows)])
    return max(abs(found - wanted) / wanted for found, wanted in zip(packed, single[0], strict=True))


def waits(sizes: dict[str, Any]) -> float:
    """1 where forward or backward of packed rows wait for the GPU, as torch sees it; else 0."""
    model = build_model(model_config_from_dict({**sizes, "vocab_size": 500})).to(device(), torch.bfloat16).train()
    batch = pack(model, [[torch.randint(5, 500, (1, length)) for length in (100, 30)]]).to(device())
    torch.cuda.set_sync_debug_mode("error")
    try:
        next(total for key, (total, _) in model(batch).items() if key.startswith("loss_")).backward()
    except RuntimeError as error:
        print(error)
        return 1.0
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return 0.0


def one_document(model: Model, ids: torch.Tensor) -> Batch:
    """A batch of one document whose labels are its own tokens."""
    decoder = Batch(ids, torch.ones_like(ids)) if model.decoder else None
    return Batch(ids, torch.ones_like(ids), labels={next(iter(model.target)): ids}, decoder=decoder)


def pack(model: Model, rows: list[list[torch.Tensor]]) -> Batch:
    """The documents of each row behind one another."""
    width = max(sum(ids.size(1) for ids in row) for row in rows)

    def joined(part: Callable[[int, torch.Tensor], torch.Tensor], fill: int) -> torch.Tensor:
        made = [torch.cat([part(n, ids) for n, ids in enumerate(row)], dim=1) for row in rows]
        return torch.cat([torch.nn.functional.pad(row, (0, width - row.size(1)), value=fill) for row in made])

    plain = Batch(
        ids=joined(lambda n, ids: ids, 0),
        segments=joined(lambda n, ids: torch.ones_like(ids), 0),
        positions=joined(lambda n, ids: torch.arange(ids.size(1)).unsqueeze(0), 0),
        documents=joined(lambda n, ids: torch.full_like(ids, n), max(len(row) for row in rows)),
    )
    labels = {next(iter(model.target)): joined(lambda n, ids: ids, IGNORE)}
    return dataclasses.replace(plain, labels=labels, decoder=plain if model.decoder else None)


def summed(model: Model, batches: list[Batch]) -> tuple[float, float]:
    """Loss, and norm of its gradient, over `batches`."""
    model.zero_grad()
    total = 0.0
    for batch in batches:
        loss = next(value for key, (value, _) in model(batch.to(device())).items() if key.startswith("loss_"))
        loss.backward()
        total += float(loss)
    gradients = [parameter.grad.float() for parameter in model.parameters() if parameter.grad is not None]
    return total, float(torch.nn.utils.get_total_norm(gradients))


def options(data: Path, output: Path, engine: str, **more: Any) -> list[str]:
    """Options of `uer-ds pretrain` for the small model; stage 3 really divides its small tensors."""
    config = read_json_object(find_json("ds_configs", engine, "bench/gpu.py"))
    if engine.startswith("zero3"):
        config["zero_optimization"] |= {"stage3_param_persistence_threshold": 0}
    path = data / f"{engine}.json"
    path.write_text(json.dumps(config))
    values = {
        "dataset_path": data / "dataset",
        "config_path": data / "model.json",
        "output_model_path": output,
        "ds_config": path,
        "total_steps": UPDATES,
        "batch_size": 16,
        "seq_length": 128,
        "learning_rate": 1e-3,
        "warmup": 0.0,
        "report_steps": 1,
        "dropout": 0.0,
        "max_grad_norm": 1.0,
        "save_weights": "none",
        **more,
    }
    return ["--data_processor", "mlm", *(word for name, value in values.items() for word in (f"--{name}", str(value)))]


def train(
    group: Any, data: Path, name: str, engine: str, updates: int, dropout: float = 0.0, stop: int | None = None
) -> Path:
    """A run in the folder `name` below `data`, from where it stopped; returns the folder."""
    output = data / "runs" / name
    output.mkdir(parents=True, exist_ok=True)
    words = options(data, output, engine, dropout=dropout, total_steps=updates)
    trainer = Trainer(read_config(words), group, output, StopAfter(stop), saves=not name.startswith("stage_"))
    trainer.train()
    trainer.engine.close()
    return output


def losses(output: Path) -> list[float]:
    """Of every update of a run."""
    return [json.loads(line)["loss"] for line in (output / "metrics.jsonl").read_text().splitlines()]


def difference(found: list[float], wanted: list[float]) -> float:
    """The largest, as a share; infinite where one has more updates."""
    if len(found) != len(wanted):
        return float("inf")
    return max(abs(a - b) / abs(b) for a, b in zip(found, wanted, strict=True))


# -- measuring ---------------------------------------------------------------------------------------------------------


LAST_CASE_SECONDS = 50.0
"""What a case may take that began when --seconds were nearly over."""


def measure(data: Path, seconds: float, updates: int, results: Results) -> None:
    """The figures of bench/train.py by case; what failed has its last lines under "error"."""
    began = time.monotonic()
    print("| case | tokens/s | TFLOP/s of the model | plain products | share | peak GB |\n|---|---|---|---|---|---|")
    for name, words in cases(data):
        if time.monotonic() - began > seconds:
            print(f"| {name} | not started: {seconds:.0f} seconds are over | | | | |")
            continue
        file = data / "figures.json"
        file.unlink(missing_ok=True)
        command = [sys.executable, str(ROOT / "bench/train.py"), "--updates", str(updates), "--json", str(file), "--"]
        left = seconds + LAST_CASE_SECONDS - (time.monotonic() - began)
        try:
            done = subprocess.run([*command, *words], capture_output=True, text=True, timeout=left)
        except subprocess.TimeoutExpired:
            results[name] = {"error": f"stopped after {left:.0f} seconds"}
            print(f"| {name} | stopped: no time is left | | | | |", flush=True)
            continue
        if done.returncode or not file.exists():
            results[name] = {"error": (done.stdout + done.stderr)[-3000:]}
            print(f"| {name} | failed, see the JSON | | | | |", flush=True)
            continue
        found = results[name] = json.loads(file.read_text())
        print(
            f"| {name} | {found['tokens_per_second']:,.0f} | {found['tflops']:.1f} | {found['gemm_tflops']:.0f} | "
            f"{found['mfu']:.0%} | {found['peak_gb']:.1f} |",
            flush=True,
        )


def cases(data: Path) -> Iterator[tuple[str, list[str]]]:
    """Name and options of each case."""
    for name, words in CASES.items():
        yield name, [*words, "--ds_config", "zero1_bf16", "--dataset_path", str(data / "dataset")]


if __name__ == "__main__":
    status = main()
    shutil.rmtree(Path(sys.argv[2]) / "runs", ignore_errors=True)
    leave(status)
