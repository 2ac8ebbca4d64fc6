"""Two processes that share each row (`--sequence_parallel_size 2`) or each layer (`--tensor_parallel_size 2`) train as
a plain torch loop does.

One launch runs all trainings (`many_runs.py`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.runs.conftest import Run, metrics, pretrain_options, write_text
from tests.runs.reference import read_config, reference_losses
from uer_ds.cli.main import main
from uer_ds.data.dataset import open_dataset
from uer_ds.data.sampler import Sampler
from uer_ds.train.pretrain import make_objective

UPDATES, SEQUENCES = 20, 16
CAUSAL = {"data_processor": "lm", "target": "lm", "mask": "causal"}

ROWS: dict[str, dict[str, Any]] = {
    "packed": {"ds_config": "zero1", "eval_dataset_path": "held_out"},
    "packed at stage 3": {"ds_config": "zero3"},
    "padded": {"ds_config": "zero2", "no_packing": True, "deepspeed_checkpoint_activations": True},
    "causal": {"ds_config": "zero1", **CAUSAL, "rotary_position_embedding": True, "embedding": "word"},
    "causal, padded": {"ds_config": "zero3", **CAUSAL, "no_packing": True},
    "bias": {"ds_config": "zero0", "relative_position_embedding": True, "embedding": "word"},
    "prefix": {
        "ds_config": "zero1",
        **CAUSAL,
        "dataset_path": "prompts",
        "data_processor": "prefixlm",
        "mask": "causal_with_prefix",
    },
    "pairs": {"ds_config": "zero1", "dataset_path": "sentences", "data_processor": "bert", "target": "mlm sp"},
}
LAYERS: dict[str, dict[str, Any]] = {
    "layers": {"ds_config": "zero1", "eval_dataset_path": "held_out"},
    "layers, offloaded": {"ds_config": "zero2_offload"},
    "layers, causal": {"ds_config": "zero2", **CAUSAL, "rotary_position_embedding": True, "no_packing": True},
    "layers, recomputed": {"ds_config": "zero1", "deepspeed_checkpoint_activations": True},
}
"""Name -> options; datasets by their names in the folder of the material."""
APART = {"ds_config": "zero2", "batch_size": SEQUENCES // 2, "eval_dataset_path": "held_out"}
"""As many sequences in an update, each of one process."""


def options(material: Path, output: Path, **given: Any) -> list[str]:
    paths = {name: material / given.pop(name) for name in ("dataset_path", "eval_dataset_path") if name in given}
    words = pretrain_options(material, output, **{"batch_size": SEQUENCES, **paths, **given})
    return [part for word in words for part in (word.split() if word in ("mlm sp",) else [word])]


@pytest.fixture(scope="module")
def datasets(material: Path) -> Path:
    """The material with a dataset of sentences and one of prompts and answers."""
    write_text(material / "more.txt", 300, seed=4)
    lines = (material / "more.txt").read_text("utf-8").splitlines()
    texts = {
        "sentences": [text for n, line in enumerate(lines) for text in ([line, ""] if n % 8 == 7 else [line])],
        "prompts": [f"{line[:12]}\t{line[12:]}" for line in lines if len(line) > 20],
    }
    for name, objective in (("sentences", "bert"), ("prompts", "prefixlm")):
        (material / f"{name}.txt").write_text("\n".join(texts[name]) + "\n", "utf-8")
        files = ["--corpus_path", material / f"{name}.txt", "--dataset_path", material / name]
        command = ["preprocess", *files, "--vocab_path", material / "vocab.txt", "--data_processor", objective]
        assert main([str(word) for word in command]) == 0
    return material


@pytest.fixture(scope="module")
def trained(datasets: Path, tmp_path_factory: pytest.TempPathFactory, run_together: Run) -> Path:
    """The folder with the outputs of all trainings of two ranks."""
    folder = tmp_path_factory.mktemp("shared-rows")
    entries: list[dict[str, Any]] = []

    def add(name: str, stop_after: int | None = None, poison: dict[str, Any] | None = None, **given: Any) -> None:
        words = options(datasets, folder / name, **given)
        entries.append({"options": words, "stop_after": stop_after, "poison": poison or {}})

    for name, given in ROWS.items():
        add(name, sequence_parallel_size=2, **given)
    add("together, then apart", stop_after=10, ds_config="zero1", sequence_parallel_size=2)
    add("together, then apart", **APART)
    add("apart, then together", stop_after=10, **APART)
    add("apart, then together", ds_config="zero3", sequence_parallel_size=2)
    bad = {"updates": [2], "rank": 1}
    add("poisoned", poison=bad, ds_config="zero1", sequence_parallel_size=2, total_steps=3)
    for what in ("rows", "layers"):
        option = "sequence_parallel_size" if what == "rows" else "tensor_parallel_size"
        dropped = {"ds_config": "zero1", "dropout": 0.1, "total_steps": 12, option: 2}
        add(f"{what} whole", **dropped)
        add(f"{what} resumed", stop_after=6, **dropped)
        add(f"{what} resumed", **dropped)
    for name, given in {**LAYERS, "layers in bf16": {"ds_config": "zero1_bf16"}}.items():
        add(name, tensor_parallel_size=2, **given)
    (folder / "runs.json").write_text(json.dumps(entries))
    run_together(2, "tests/runs/many_runs.py", folder / "runs.json", timeout=300)
    return folder


def losses(output: Path) -> list[float]:
    return [report["loss"] for report in metrics(output)]


def saved_weights(output: Path) -> dict[str, torch.Tensor]:
    return load_file(max(output.glob("checkpoint-*"), key=lambda path: int(path.name[11:])) / "model.safetensors")


def plain_losses(material: Path, **given: Any) -> list[float]:
    """Losses of the plain loop with these options."""
    return reference_losses(read_config(options(material, material / "plain", **given)), SEQUENCES)


@pytest.fixture(scope="module")
def expected(datasets: Path) -> list[float]:
    """Losses of the plain loop over packed rows."""
    return plain_losses(datasets)


@pytest.mark.parametrize("name", ["packed", "packed at stage 3", "layers", "layers, offloaded", "layers, recomputed"])
def test_packed_rows_are_learnt_as_by_the_plain_loop(name: str, trained: Path, expected: list[float]) -> None:
    assert losses(trained / name) == pytest.approx(expected, rel=1e-5)
    assert expected[-1] < expected[0] - 0.2


@pytest.mark.parametrize("name", [*list(ROWS)[2:], "layers, causal"])
def test_rows_of_every_kind_follow_the_plain_loop(name: str, trained: Path, datasets: Path) -> None:
    plain = plain_losses(datasets, **{**ROWS, **LAYERS}[name])
    assert losses(trained / name) == pytest.approx(plain, rel=1e-5)
    assert plain[-1] < plain[0] - 0.05


@pytest.mark.parametrize("name", ["packed", "layers"])
def test_samples_and_tokens_are_counted_once(name: str, trained: Path) -> None:
    last = metrics(trained / name)[-1]
    assert (last["samples"], last["tokens"]) == (UPDATES * SEQUENCES, UPDATES * SEQUENCES * 32)


@pytest.mark.parametrize("name", ["packed", "layers"])
def test_an_evaluation_is_that_of_one_process(name: str, trained: Path) -> None:
    shared, whole = (metrics(trained / run, "evaluations.jsonl")[-1] for run in (name, "together, then apart"))
    assert shared["update"] == whole["update"] == UPDATES
    assert shared["loss"] == pytest.approx(whole["loss"], rel=1e-5)


@pytest.mark.parametrize("name", ["packed", "layers", "layers, offloaded"])
def test_saved_weights_and_norms_are_whole(name: str, trained: Path) -> None:
    found, whole = (saved_weights(trained / run) for run in (name, "together, then apart"))
    assert {key: value.shape for key, value in found.items()} == {key: value.shape for key, value in whole.items()}
    assert all(torch.allclose(found[key], whole[key], atol=1e-4) for key in whole)
    norms = [[report["grad_norm"] for report in metrics(trained / run)] for run in (name, "together, then apart")]
    assert norms[0] == pytest.approx(norms[1], rel=1e-4)


def test_layers_shared_in_bf16_stay_near_the_plain_loop(trained: Path, expected: list[float]) -> None:
    assert losses(trained / "layers in bf16") == pytest.approx(expected, rel=2e-2)
    matrix = saved_weights(trained / "layers in bf16")["encoder.transformer.0.feed_forward.linear_2.weight"]
    assert matrix.shape == (32, 64)
    assert (matrix != matrix.bfloat16().float()).float().mean() > 0.5


@pytest.mark.parametrize("name", ["together, then apart", "apart, then together"])
def test_a_run_goes_on_with_rows_shared_otherwise(name: str, trained: Path, expected: list[float]) -> None:
    assert losses(trained / name) == pytest.approx(expected, rel=1e-5)
    assert metrics(trained / name)[-1]["samples"] == UPDATES * SEQUENCES


@pytest.mark.parametrize("what", ["rows", "layers"])
def test_a_resumed_run_is_the_same_bit_for_bit(what: str, trained: Path) -> None:
    assert losses(trained / f"{what} resumed") == losses(trained / f"{what} whole")
    weights = [saved_weights(trained / f"{what} {kind}") for kind in ("resumed", "whole")]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[1])


def test_samples_of_a_bad_update_are_named_once(trained: Path, datasets: Path) -> None:
    (line,) = metrics(trained / "poisoned", "non_finite.jsonl")
    (found,) = line["samples"]
    run = read_config(options(datasets, trained / "poisoned"))
    objective = make_objective(run, [open_dataset(path) for path in run.data.dataset_path])
    _, numbers = Sampler(len(objective), run.train.seed).update(SEQUENCES, SEQUENCES)
    assert found["numbers"] == numbers.tolist()


@pytest.mark.long
@pytest.mark.parametrize("option", ["sequence_parallel_size", "tensor_parallel_size"])
def test_two_pairs_follow_the_plain_loop(
    option: str, datasets: Path, tmp_path: Path, run_together: Run, expected: list[float]
) -> None:
    """Pairs read different samples; their gradients are averaged over both."""
    given = {"ds_config": "zero1", "batch_size": SEQUENCES // 2, option: 2}
    (tmp_path / "runs.json").write_text(json.dumps([{"options": options(datasets, tmp_path / "pairs", **given)}]))
    run_together(4, "tests/runs/many_runs.py", tmp_path / "runs.json", timeout=300)
    assert losses(tmp_path / "pairs") == pytest.approx(expected, rel=1e-5)
    assert metrics(tmp_path / "pairs")[-1]["samples"] == UPDATES * SEQUENCES
