"""`bash quickstart.sh` with fewer steps and names.

The model learns, resumes, leaves for Hugging Face, and gives our logits there.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.runs.conftest import Run, metrics
from uer_ds.config.model import model_config_from_dict
from uer_ds.models.model import build_model
from uer_ds.models.weights import load_weights
from uer_ds.storage.files import read_json_object

STEPS = 150


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory: pytest.TempPathFactory, run: Run) -> tuple[Path, str]:
    """The output folder and what was printed."""
    folder = tmp_path_factory.mktemp("quickstart") / "output"
    run("uer-ds", "demo-data", folder / "text")
    for name in ("few", "dev", "test"):  # of the names the first rows are enough here
        path = folder / "text" / "ner" / f"{name}.tsv"
        path.write_text("".join(path.read_text("utf-8").splitlines(keepends=True)[:257]), "utf-8")
    done = run("bash", "quickstart.sh", folder, timeout=600, QUICKSTART_STEPS=str(STEPS))
    return folder, done.stdout


def test_it_learns(quickstart: tuple[Path, str]) -> None:
    evaluations = metrics(quickstart[0] / "run", "evaluations.jsonl")
    first, last = evaluations[0], evaluations[-1]
    assert last["accuracy"] > first["accuracy"] + 0.03
    assert last["loss"] < first["loss"] - 1.0


def test_it_was_interrupted_and_resumed(quickstart: tuple[Path, str]) -> None:
    folder, said = quickstart
    assert "stopped by SIGTERM" in said
    assert "resume     " in said
    assert [report["update"] for report in metrics(folder / "run")] == list(range(50, STEPS + 1, 50))


def test_it_ends_with_a_table(quickstart: tuple[Path, str]) -> None:
    for words in (
        "held-out masked accuracy",
        "F1 of names, held-out",
        "tokens trained on",
        "tensorboard --logdir",
        "untrained",
    ):
        assert words in quickstart[1]


def test_the_exported_folder_gives_our_logits(quickstart: tuple[Path, str]) -> None:
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    folder = quickstart[0]
    checkpoint = folder / "run" / f"checkpoint-{STEPS}"
    config = model_config_from_dict(read_json_object(checkpoint / "config.json"))
    ours = build_model(config).eval()
    load_weights(ours, checkpoint)
    tokenizer = AutoTokenizer.from_pretrained(folder / "huggingface")
    theirs = AutoModelForMaskedLM.from_pretrained(folder / "huggingface").eval()
    inputs = tokenizer(["这本书[MASK]很好看", "房间很小，不过干净。"], return_tensors="pt", padding=True)
    ids, segments = inputs["input_ids"], inputs["attention_mask"]
    with torch.no_grad():
        mine = ours.target["mlm"].logits(ours.encode(ids, segments), segments)
        assert (mine - theirs(**inputs).logits)[segments > 0].abs().max() < 1e-4


def test_it_can_be_run_again(quickstart: tuple[Path, str], run: Run) -> None:
    done = run("bash", "quickstart.sh", quickstart[0], QUICKSTART_STEPS=str(STEPS))
    assert "pre-training" not in done.stdout
