"""The tables and the picture of docs/performance.md: bench/train.py for several models, precisions and row forms.

    python bench/performance.py FOLDER          about ten minutes on two cores
    python bench/performance.py FOLDER --cases small     only those whose name begins so

One process on all cores, masked language modelling on rows of 128. Writes FOLDER/*.json, the Markdown table to stdout
and FOLDER/time_split.png: where the time of an update goes. What is in FOLDER already is not measured again. Needs
matplotlib.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("data", "agreement", "forward", "backward", "step")

# Name -> options of bench/train.py, options of the run.
CASES: dict[str, tuple[list[str], list[str]]] = {
    "tiny 32 fp32": (["--updates", "40"], ["tiny", "32", "zero1"]),
    "tiny 32 bf16": (["--updates", "60"], ["tiny", "32", "zero1_bf16"]),
    "small 32 fp32": (["--updates", "6"], ["small", "32", "zero1"]),
    "small 32 bf16": (["--updates", "12"], ["small", "32", "zero1_bf16"]),
    "small 32 bf16, plain torch": (["--updates", "12", "--plain"], ["small", "32", "zero1_bf16"]),
    "small 128 bf16": (["--updates", "5"], ["small", "128", "zero1_bf16"]),
    "base 32 bf16": (["--updates", "4", "--warm_up", "2"], ["base", "32", "zero1_bf16"]),
    "small 32 bf16, texts of 40, packed": (
        ["--updates", "12", "--document_tokens", "40"],
        ["small", "32", "zero1_bf16"],
    ),
    "small 32 bf16, texts of 40, padded": (
        ["--updates", "12", "--document_tokens", "40"],
        ["small", "32", "zero1_bf16", "--no_packing"],
    ),
}


def main() -> None:
    """Measure, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cases", default="", help="beginning of the names of the cases")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    found = {name: measure(args.folder, name) for name in CASES if name.startswith(args.cases)}
    print("| case | tokens/s | real tokens/s | GFLOP/s | products alone | share | peak GB |")
    print("|---|---|---|---|---|---|---|")
    for name, figures in found.items():
        speeds = f"{figures['tokens_per_second']:,.0f} | {figures['real_tokens_per_second']:,.0f}"
        rates = f"{1000 * figures['tflops']:.0f} | {1000 * figures['gemm_tflops']:.0f} | {figures['mfu']:.0%}"
        print(f"| {name} | {speeds} | {rates} | {figures['peak_gb']:.2f} |")
    draw(found, args.folder / "time_split.png")


def measure(folder: Path, name: str) -> dict[str, Any]:
    """The figures of a case, from its file or by running it."""
    path = folder / f"{name.replace(' ', '_').replace(',', '')}.json"
    if not path.exists():
        words, (size, rows, engine, *more) = CASES[name]
        run = ["--config_path", f"bert/{size}_config", "--batch_size", rows, "--ds_config", engine, *more]
        command = [sys.executable, str(ROOT / "bench/train.py"), *words, "--json", str(path), "--", *run]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{' '.join(command)}\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    figures: dict[str, Any] = json.loads(path.read_text())
    return figures


def draw(found: dict[str, dict[str, Any]], path: Path) -> None:
    """Bars of the parts of an update, as shares of its time."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 0.5 * len(found) + 1.2))
    names, left = list(found), [0.0] * len(found)
    for part in PARTS:
        shares = [100 * found[name]["parts"].get(part, 0.0) for name in names]
        axes.barh(names, shares, left=left, label=part)
        left = [a + b for a, b in zip(left, shares, strict=True)]
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.set_xlabel("% of an update")
    axes.legend(ncols=len(PARTS), loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
