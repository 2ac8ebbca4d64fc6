"""The small recipes train: two updates each, with flags over the recipe, in one process after the other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.runs.conftest import Run, metrics, write_text
from uer_ds.cli.main import main
from uer_ds.config.recipes import load_recipe

SMALL = (
    *("bert_tiny", "roberta_tiny", "roberta_L-4_H-128_seq512", "word_roberta_tiny", "albert_base"),
    *("t5_small", "t5-v1_1_small", "gpt2_distil", "lstm", "gru", "gatedcnn", "elmo"),
)
SENTENCES = ("bert_tiny", "albert_base")


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two datasets: documents a line, and documents of sentences; the vocabulary has sentinels."""
    folder = tmp_path_factory.mktemp("recipes")
    write_text(folder / "lines.txt", 300, seed=1)
    lines = (folder / "lines.txt").read_text("utf-8").splitlines()
    documents = ["\n".join(lines[i : i + 6]) for i in range(0, len(lines), 6)]
    (folder / "sentences.txt").write_text("\n\n".join(documents) + "\n", "utf-8")
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"<extra_id_{i}>" for i in range(20))]
    (folder / "vocab.txt").write_text("\n".join([*tokens, *sorted(set("".join(lines)))]) + "\n", "utf-8")
    for name, processor in (("lines", "mlm"), ("sentences", "bert")):
        words = ["--corpus_path", folder / f"{name}.txt", "--vocab_path", folder / "vocab.txt"]
        words += ["--dataset_path", folder / name, "--data_processor", processor]
        assert main(["preprocess", *map(str, words)]) == 0
    return {name: folder / name for name in ("lines", "sentences")}


@pytest.fixture(scope="module")
def trained(datasets: dict[str, Path], tmp_path_factory: pytest.TempPathFactory, run_together: Run) -> Path:
    """The folder with one run for each small recipe; checkpoints are left out: they would be gigabytes."""
    folder = tmp_path_factory.mktemp("recipes")
    flags = {"total_steps": 2, "global_batch_size": 4, "batch_size": 2, "seq_length": 16, "report_steps": 1}
    entries = []
    for name in SMALL:
        dataset = datasets["sentences" if name in SENTENCES else "lines"]
        words = ["--recipe", name, "--dataset_path", str(dataset), "--output_model_path", str(folder / name)]
        words += [word for flag, value in flags.items() for word in (f"--{flag}", str(value))]
        entries.append({"options": words, "save": False})
    (folder / "runs.json").write_text(json.dumps(entries))
    run_together(1, "tests/runs/many_runs.py", folder / "runs.json")
    return folder


@pytest.mark.parametrize("name", SMALL)
def test_a_small_recipe_trains(name: str, trained: Path) -> None:
    reports = metrics(trained / name)
    assert [(report["update"], report["samples"]) for report in reports] == [(1, 4), (2, 8)]
    assert all(report["loss"] > 0 and report["grad_norm"] > 0 for report in reports)
    saved = json.loads((trained / name / "run.json").read_text())
    assert saved["paths"]["recipe"] == name
    assert saved["data"]["seq_length"] == 16
    assert saved["optim"]["learning_rate"] == load_recipe(name).options["learning_rate"]
