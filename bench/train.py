"""How fast training is, and what limits it: one table for one run of the real path (options, data, engine, optimizer).

    python bench/train.py --updates 20 -- --model bert/small_config --batch_size 32 --ds_config zero1_bf16
    deepspeed --num_accelerators 2 bench/train.py -- ...        several processes
    python bench/train.py --plain -- ...                        the same work in a plain torch loop, without DeepSpeed

Behind `--` stand options of `uer-ds pretrain` (default: mlm, rows of 128). Without --dataset_path the text is made of
random characters in documents of --document_tokens (default: longer than a row, so rows are full and hold one
document). Prints tokens a second (all, and real ones), model TFLOP/s (see uer_ds/models/flops.py), the rate of plain
matrix products in the same process and the ratio, peak memory, and where the time goes: data, agreement, forward,
backward, step (with the communication of gradients), as a table and with --json FILE as JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import json
import platform
import random
import resource
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import os

import torch

from uer_ds.cli.main import main as command
from uer_ds.cli.parser import Parser
from uer_ds.cli.pretrain import add_arguments, make_run_config, modernise
from uer_ds.config.run import RunConfig
from uer_ds.data.batch import Batch
from uer_ds.engine import distributed
from uer_ds.engine.probe import gemm_rate
from uer_ds.launch.leaving import leave
from uer_ds.launch.place import find_place
from uer_ds.models.flops import training_flops, work_of
from uer_ds.models.init import decays
from uer_ds.models.model import build_model, build_shapes
from uer_ds.train.loop import agree, draw_seed, share_of_loss
from uer_ds.train.pretrain import Trainer
from uer_ds.train.stopping import StopWish

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *map(chr, range(0x4E00, 0x4E00 + 20902))]
DOCUMENTS_TOKENS = 1_000_000
USUAL = ["--data_processor", "mlm", "--target", "mlm", "--total_steps", "100000"]


class Clock:
    """Seconds by part of an update.

    Attributes:
        waits: a part ends when the GPU has finished it; else when it has been told everything.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.waits = False

    @contextlib.contextmanager
    def time(self, part: str) -> Iterator[None]:
        """Count what happens inside the `with` block."""
        began = time.perf_counter()
        yield
        if self.waits:
            synchronise()
        self.seconds[part] += time.perf_counter() - began

    def wrap(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, counted."""

        def counted(*args: Any, **options: Any) -> Any:
            with self.time(part):
                return function(*args, **options)

        return counted


def synchronise() -> None:
    """Wait for a GPU to finish what it was told; the CPU does things at once."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def main() -> None:
    """Measure one run and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--updates", type=int, default=20, help="updates that are measured")
    parser.add_argument("--warm_up", type=int, default=5, help="updates before them")
    parser.add_argument("--document_tokens", type=int, default=2000, help="length of made-up documents")
    parser.add_argument("--plain", action="store_true", help="a plain torch loop instead of DeepSpeed")
    parser.add_argument("--json", help="file for the figures")
    parser.add_argument("--local_rank", type=int, help=argparse.SUPPRESS)
    parser.add_argument("options", nargs="*", help="options of uer-ds pretrain, behind --")
    args = parser.parse_args()
    place = find_place(os.environ)
    with tempfile.TemporaryDirectory() as folder, distributed.joined(place) as group:
        if "--dataset_path" not in args.options:
            shared = group.on_first(lambda: make_dataset(Path(folder), args.document_tokens))
            args.options += ["--dataset_path", str(shared)]
        run = run_config([*USUAL, *args.options, "--output_model_path", f"{folder}/output", "--no_resume"])
        trainer = Trainer(run, group, Path(folder) / "output", StopWish())
        measure = measure_plain if args.plain else measure_engine
        figures = measure(trainer, args.warm_up, args.updates)
        figures["peak_gb"] = peak_gb()
        figures["gemm_tflops"] = sum(group.gather_everywhere(gemm_rate(precision(run)) / 1e12))
        everybody = group.gather_everywhere(figures)
        if place.is_first:
            report(run, everybody, args)


def make_dataset(folder: Path, document_tokens: int) -> Path:
    """A dataset of random characters."""
    draw = random.Random(1)
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    with open(folder / "text.txt", "w", encoding="utf-8") as file:
        for _ in range(DOCUMENTS_TOKENS // document_tokens + 1):
            file.write("".join(draw.choices(VOCABULARY[5:], k=document_tokens)) + "\n")
    words = ["preprocess", "--corpus_path", f"{folder}/text.txt", "--vocab_path", f"{folder}/vocab.txt"]
    with contextlib.redirect_stdout(io.StringIO()):
        command([*words, "--dataset_path", f"{folder}/dataset"])
    return folder / "dataset"


def run_config(words: list[str]) -> RunConfig:
    """The configuration that these options of `uer-ds pretrain` give."""
    parser = Parser()
    add_arguments(parser)
    args = parser.parse_args(modernise(words))
    return make_run_config(args)


def precision(run: RunConfig) -> torch.dtype:
    """The type of the products: that of the engine."""
    low = {"bf16": torch.bfloat16, "fp16": torch.float16}
    return next((kind for name, kind in low.items() if (run.engine.get(name) or {}).get("enabled")), torch.float32)


def measure_engine(trainer: Trainer, warm_up: int, updates: int) -> dict[str, Any]:
    """The run's own parts, called as `train.loop.train` calls them."""
    engine, group, run, clock = trainer.engine, trainer.group, trainer.run, Clock()
    inner = engine._engine
    inner.backward, inner.step = clock.wrap("backward", inner.backward), clock.wrap("step", inner.step)
    engine.train(True)

    def update(number: int, batches: list[Batch]) -> None:
        with clock.time("agreement"):
            agreement = agree(group, batches, trainer.wish)
        engine.set_learning_rate(1e-4)
        for place, batch in enumerate(batches):
            torch.manual_seed(draw_seed(run.train.seed, number, place, group.place.rank))
            with clock.time("forward"):
                terms = engine.forward(batch.to(engine.device, non_blocking=True))
                loss = share_of_loss(terms, agreement, group.place.world_size)
            engine.backward_and_step(loss)

    return timed(trainer, clock, update, warm_up, updates)


def measure_plain(trainer: Trainer, warm_up: int, updates: int) -> dict[str, Any]:
    """The same model and batches under torch's own fused AdamW, in one process."""
    run, clock, device = trainer.run, Clock(), trainer.engine.device
    torch.manual_seed(run.train.seed)
    model = build_model(run.model).to(device, precision(run)).train()
    masters = [parameter.detach().float().requires_grad_() for parameter in model.parameters()]
    decay = decays(model)
    names = [name for name, _ in model.named_parameters()]
    groups = [
        {"params": [m for n, m in zip(names, masters, strict=True) if decay[n] == kind], "weight_decay": rate}
        for kind, rate in ((True, run.optim.weight_decay), (False, 0.0))
    ]
    optimizer = torch.optim.AdamW(groups, lr=1e-4, fused=True)

    def update(number: int, batches: list[Batch]) -> None:
        for batch in batches:
            with clock.time("forward"):
                terms = model(batch.to(device, non_blocking=True))
                total, count = next(values for name, values in terms.items() if name.startswith("loss_"))
            with clock.time("backward"):
                (total / count).backward()
        with clock.time("step"):
            for master, parameter in zip(masters, model.parameters(), strict=True):
                master.grad, parameter.grad = parameter.grad.float(), None  # type: ignore[union-attr]
            optimizer.step()
            with torch.no_grad():
                for master, parameter in zip(masters, model.parameters(), strict=True):
                    parameter.copy_(master)

    return timed(trainer, clock, update, warm_up, updates)


def timed(
    trainer: Trainer, clock: Clock, update: Callable[[int, list[Batch]], None], warm_up: int, updates: int
) -> dict[str, Any]:
    """Run the updates; figures of the measured ones, of this process.

    A GPU is not asked on the way when it has finished something; for the parts of the time some more updates are run.
    """
    mask, on_gpu, numbers = trainer.run.model.mask, torch.cuda.is_available(), itertools.count()
    with trainer._loader() as loader:

        def run_updates(count: int) -> tuple[float, list[Batch]]:
            """Seconds, and what was read."""
            read: list[Batch] = []
            clock.seconds.clear()
            began = time.perf_counter()
            for number in itertools.islice(numbers, count):
                with clock.time("data"):
                    batches = next(loader)
                update(number, batches)
                read += batches
            synchronise()
            return time.perf_counter() - began, read

        run_updates(warm_up)
        seconds, read = run_updates(updates)
        clock.waits = on_gpu
        seconds_of_parts = run_updates(max(1, updates // 4))[0] if on_gpu else seconds
    tokens = sum(batch.ids.numel() for batch in read)
    works = [work_of(batch, mask or "fully_visible") for batch in read]
    model = build_shapes(trainer.run.model)
    flops = sum(training_flops(model, work) for work in works)
    parts = {part: clock.seconds[part] / seconds_of_parts for part in clock.seconds}
    return {
        "tokens_per_second": tokens / seconds,
        "real_tokens_per_second": sum(work.tokens for work in works) / seconds,
        "tflops": flops / seconds / 1e12,
        "seconds_per_update": seconds / updates,
        "parts": parts,
    }


def peak_gb() -> float:
    """The most memory this process has held: of a GPU where there is one, else of the machine."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def report(run: RunConfig, everybody: list[dict[str, Any]], args: argparse.Namespace) -> None:
    """Print the figures of all processes together; parts of the time are rank 0's."""
    total = {name: sum(each[name] for each in everybody) for name in ("tokens_per_second", "real_tokens_per_second")}
    tflops, gemm = sum(each["tflops"] for each in everybody), everybody[0]["gemm_tflops"]
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{platform.machine()} CPU"
    figures = {
        **total,
        "tflops": tflops,
        "gemm_tflops": gemm,
        "mfu": tflops / gemm,
        "seconds_per_update": everybody[0]["seconds_per_update"],
        "peak_gb": max(each["peak_gb"] for each in everybody),
        "parts": everybody[0]["parts"],
        "processes": len(everybody),
        "device": device,
        "torch": torch.__version__,
        "options": args.options,
        "plain": args.plain,
    }
    model = run.model
    print(
        f"{model.encoder} {model.layers_num} x {model.hidden_size}, rows {run.train.batch_size} x {run.data.seq_length}"
    )
    print(f"{total['tokens_per_second']:,.0f} tokens/s, {total['real_tokens_per_second']:,.0f} real ones")
    print(f"{tflops:.4f} of {gemm:.4f} TFLOP/s = {tflops / gemm:.1%}; peak {figures['peak_gb']:.2f} GB")
    print("  ".join(f"{part} {share:.1%}" for part, share in everybody[0]["parts"].items()))
    if args.json:
        Path(args.json).write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
    leave()
