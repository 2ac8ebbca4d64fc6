"""A checkpoint goes on under another number of processes, ZeRO stage, offload or micro-batch: nothing is lost.

Here every stage that two processes wrote is continued by one under every stage, and back again in part, and some by or
from three; `bench/resume.py` measures all 144 pairings of one and two.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.runs.conftest import metrics
from tests.runs.pairings import (
    carried_exactly,
    continued,
    folder_name,
    kept,
    largest_difference,
    launch,
    parts,
    undisturbed,
    written,
)

STAGES = ("zero0", "zero1", "zero2", "zero3")
OFFLOADED = {"zero2": "zero2_offload", "zero3": "zero3_offload"}


def pairs() -> list[tuple[str, str]]:
    """(written by, continued by): all stages from 2 ranks to 1, every stage to two others from 1 to 2; every second
    change of stage is also one of offload."""
    found = []
    for i, before in enumerate(STAGES):
        for j, now in enumerate(STAGES):
            engine = OFFLOADED.get(now, now) if (i + j) % 2 else now
            found.append((f"2:{before}", f"1:{engine}"))
            if (j - i) % 4 in (1, 2):
                found.append((f"1:{before}", f"2:{engine}"))
    found += [("2:zero3_offload", "1:zero1"), ("2:zero3_offload", "2:zero3"), ("2:zero2", "2:zero0")]
    into_three = [("2:zero2@48", "3:zero3@48"), ("2:zero3@48", "3:zero1@48")]  # parts that are no halves of parts
    from_three = [("3:zero3@48", "1:zero2@48"), ("3:zero3@48", "2:zero3@48"), ("3:zero2@48", "2:zero3_offload@48")]
    return [*found, *into_three, *from_three]


@pytest.fixture(scope="module")
def runs(material: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with all trainings."""
    folder = tmp_path_factory.mktemp("pairings")
    sources = sorted({before for before, _ in pairs()})
    for ranks in (2, 3, 1):
        entries = [written(material, folder, source) for source in sources if parts(source)[0] == ranks]
        if ranks != 2:  # the files of two ranks are there by now
            entries += [continued(material, folder, *pair) for pair in pairs() if parts(pair[1])[0] == ranks]
        else:
            entries += [undisturbed(material, folder), undisturbed(material, folder, 48), kept(material, folder)]
        launch(folder, ranks, entries, f"{ranks}")
    entries = [continued(material, folder, *pair) for pair in pairs() if parts(pair[1])[0] == 2]
    entries.append(continued(material, folder, "1:zero1", "2:zero2_bf16"))
    launch(folder, 2, entries, "2-again")
    return folder


@pytest.mark.parametrize(("before", "now"), pairs())
def test_the_state_is_carried_and_the_losses_go_on(before: str, now: str, runs: Path) -> None:
    assert carried_exactly(runs, before, now)
    assert largest_difference(runs, before, now) < 1e-5


def test_rounded_weights_go_on_from_exact_ones(runs: Path) -> None:
    assert carried_exactly(runs, "1:zero1", "2:zero2_bf16")
    assert largest_difference(runs, "1:zero1", "2:zero2_bf16") < 2e-2


def test_the_log_says_what_changed(runs: Path) -> None:
    said = (runs / "said-1").read_text()
    assert "written by 2 processes at stage 3, continued by 1 process at stage 0" in said
    assert "continued by 1 process at stage 3, optimizer to cpu+param to cpu" in said
    assert "32 sequences, as before: 2 processes x 16 x 1 before, 1 process x 16 x 2 now" in said
    assert (runs / folder_name("2:zero3", "1:zero0")).is_dir()


def test_what_is_kept_and_what_is_in_it(runs: Path, material: Path) -> None:
    names = sorted(path.name for path in (runs / "kept").glob("*checkpoint*"))
    assert names == ["checkpoint-4", "checkpoint-6"]  # the newest, and every second one
    assert [report["samples"] for report in metrics(runs / "kept")] == [32 * n for n in range(1, 7)]
    newest = runs / "kept" / "checkpoint-6"
    state = json.loads((newest / "state.json").read_text())
    assert (state["updates"], state["samples"], state["seed"]) == (6, 192, 7)
    expected = {"processes": 2, "stage": 3, "batch_size": 4, "accumulation_steps": 4, "steps_per_update": 1}
    assert expected.items() <= state["layout"].items()
    assert {"torch", "deepspeed", "python", "uer_ds"} <= set(state["versions"])
    assert state["datasets"][0]["fingerprint"] == state["identity"]["datasets"][0]
    assert state["run"]["train"]["global_batch_size"] == 32
    there = {path.relative_to(newest).as_posix() for path in newest.rglob("*") if path.is_file()} - {"state.json"}
    assert set(state["files"]) == there
    assert sum(name.endswith("_optim_states.pt") for name in there) == 2


def test_plain_weights_are_those_of_all_ranks_together(runs: Path) -> None:
    weights = torch.load(runs / "kept" / "checkpoint-6" / "model.bin", weights_only=True)
    engine = torch.load(runs / "kept" / "engine.pt", weights_only=True)
    assert all(torch.equal(weights[name], state["master"]) for name, state in engine.items())
    assert set(weights) - set(engine) == {"target.mlm.linear_2.weight"}
    tied = weights["target.mlm.linear_2.weight"]
    assert tied.data_ptr() == weights["embedding.word.embedding.weight"].data_ptr()
